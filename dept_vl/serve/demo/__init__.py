"""`dept-vl demo`: a page to try adapters in a browser, by gradio (extra `demo`)"""
