from importlib.metadata import PackageNotFoundError

from bench.store import software


def test_a_checkout_that_was_never_installed_has_no_version_and_still_a_commit(monkeypatch):
    def not_installed(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(software, "version", not_installed)
    told = software.software.__wrapped__()
    assert told["bench"] is None
    assert told["python"]
