"""Tell what encoding a text file that is not UTF-8 looks like, so that an error can say how to mend it."""

_UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_ADVICE = "save it as UTF-8 (in Excel: 'CSV UTF-8')"
_ARCHIVES = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # of .xlsx and .ods, of .xls
_SHEETS = (".xlsx", ".xlsm", ".xls", ".ods", ".numbers")


def spreadsheet_advice(ending: str) -> str | None:
    """What to do about a table of this ending, if it is a spreadsheet's; none of these is read."""
    return "a spreadsheet: save its sheet as CSV (in Excel: 'CSV UTF-8')" if ending.lower() in _SHEETS else None


def other_encoding(data: bytes) -> str | None:
    """What the bytes look like where they are not UTF-8, with advice; None where they are."""
    if data.startswith(_ARCHIVES):
        return f"they look like a spreadsheet or another archive: {_ADVICE}"
    start = data[:400]
    if data.startswith(_UTF_16_MARKS) or start.count(0) > len(start) // 4:
        return f"they look like UTF-16: {_ADVICE}"
    if data.isascii():
        return None
    good, bad = 0, 0  # the first line, from 1, with UTF-8 beyond ASCII and the first that is none
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.isascii():
            continue
        try:
            line.decode("utf-8")
            good = good or number
        except UnicodeDecodeError:
            bad = bad or number
        if good and bad:
            break
    if not bad:
        return None
    if good:
        return (
            f"two encodings are mixed, UTF-8 in line {good:,} and what looks like Latin-1 or Windows-1252 in line "
            f"{bad:,}: {_ADVICE}"
        )
    return f"they look like Latin-1 or Windows-1252: {_ADVICE}"
