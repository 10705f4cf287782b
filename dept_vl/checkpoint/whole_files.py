"""Several small files written together: all of them, or what was there before."""

import os
import uuid
from collections.abc import Mapping
from pathlib import Path


def write_files_whole(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write every file under another name, make sure that the disk has it, and only then rename them all.

    Raises:
        OSError: naming the folder; the older files are as they were, and a folder made here is gone again.
    """
    is_new = not folder.exists()
    temporaries = {name: folder / f".{name}.{os.getpid()}.{uuid.uuid4().hex}.tmp" for name in files}
    whole = False
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            with temporaries[name].open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())  # a full disk may only show here
        for name, temporary in temporaries.items():
            os.replace(temporary, folder / name)
        whole = True
    except OSError as error:
        wanted = f"{', '.join(files)} ({sum(map(len, files.values())):,} bytes)"
        reason = f"could not save {wanted}: {error.strerror or error}; what was there before is kept"
        raise OSError(error.errno, reason, str(folder)) from error
    finally:
        if folder.is_dir():
            for temporary in temporaries.values():
                temporary.unlink(missing_ok=True)
            if is_new and not whole and not any(folder.iterdir()):
                folder.rmdir()
