"""How the tiny backbones of the embedded default were made: their tokenizer, words and two training loops."""
