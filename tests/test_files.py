"""Places that cannot be written are named before the work, and files of the system in words."""

import errno

import pytest

from la.errors import MENDS, in_words
from la.files import atomic_write, check_folder, check_writable


def test_what_cannot_be_written_is_named_before_the_work(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_text("")
    check_writable(file)  # it is replaced
    check_writable(tmp_path / "new" / "folder" / "file")
    check_folder(tmp_path / "new")
    assert not (tmp_path / "new").exists()
    with pytest.raises(IsADirectoryError) as error:
        check_writable(tmp_path)
    assert in_words(error.value) == f"{tmp_path}: Is a directory; give the name of a file"
    for place in (file, file / "below"):
        with pytest.raises(NotADirectoryError) as error:
            check_folder(place)
        assert in_words(error.value) == f"{file}: Not a directory; {MENDS[errno.ENOTDIR]}"
    with pytest.raises(NotADirectoryError):
        check_writable(file / "below" / "x.json")
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(PermissionError) as error:
        check_writable(file)
    assert in_words(error.value) == f"{tmp_path}: Permission denied; {MENDS[errno.EACCES]}"


def test_an_error_of_the_system_names_the_file_that_was_to_be_written(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    mend = "a file has the name of a folder that is needed; choose another place"
    with pytest.raises(OSError) as error, atomic_write(file / "x.json"):
        pass
    assert in_words(error.value) == f"{file}: File exists; {mend}"
    with pytest.raises(OSError) as error, atomic_write(tmp_path):
        pass
    assert in_words(error.value) == f"{tmp_path}: Is a directory; give the name of a file"
    assert list(tmp_path.iterdir()) == [file]


def test_an_error_without_a_file_keeps_its_text():
    assert in_words(OSError("no route to the server")) == "no route to the server"
