"""Passwords are not in what is printed, journaled or stored."""

import pytest
from written_records import RecordWriter

from galaxy_exp.config.reading import as_journaled, load_sweep, read_sweep
from galaxy_exp.errors import TrackingError
from galaxy_exp.redaction import hide_password, remember_address
from galaxy_exp.tracking.addresses import whole_address
from galaxy_exp.tracking.artifacts import write_sweep_artifacts
from galaxy_exp.training.trial import failure_reason

URI = "postgresql://me:hun/ter@2@db.example/mlflow"
HIDDEN = "postgresql://***@db.example/mlflow"


@pytest.fixture(autouse=True)
def no_secrets(monkeypatch):
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (URI, HIDDEN),
        (f"cannot connect to {URI}: timeout", f"cannot connect to {HIDDEN}: timeout"),
        (f"{URI}\n{URI}", f"{HIDDEN}\n{HIDDEN}"),
        ("mysql+pymysql://me:a%40b@h:3306/x", "mysql+pymysql://***@h:3306/x"),
        ("https://me@host", "https://***@host"),
        ("postgresql://h/db?user=me&password=a%20b&x=1", "postgresql://h/db?user=me&password=***&x=1"),
        ("https://h/x?X-Amz-Signature=abc&sig_token=d", "https://h/x?X-Amz-Signature=***&sig_token=***"),
        ("mssql+pyodbc:///?odbc_connect=DRIVER%3DPWD%3Dx", "mssql+pyodbc:///?odbc_connect=***"),
        ("{'Authorization': 'Basic bWU6eA=='}", "{'Authorization': 'Basic ***'}"),
        ("sqlite:////home/a@b/mlflow.db", "sqlite:////home/a@b/mlflow.db"),
        ("http://host:5000", "http://host:5000"),
        ("write to me@example.org", "write to me@example.org"),
    ],
)
def test_addresses_and_texts(text, shown):
    assert hide_password(text) == shown


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MLFLOW_TRACKING_PASSWORD", "hunter22"),
        ("MLFLOW_TRACKING_TOKEN", "hunter22"),
        ("HTTPS_PROXY", "http://me:hunter22@proxy:80"),
        ("MLFLOW_TRACKING_URI", "http://me:hunter%32%32@host"),
    ],
)
def test_secrets_of_the_environment_are_found_by_themselves(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert hide_password("refused: hunter22, not hunter222") == "refused: ***, not hunter222"


def test_the_reason_of_a_failure_has_none():
    assert failure_reason(OSError(f"no way to {URI}")) == f"OSError: no way to {HIDDEN}"


def test_a_journal_has_none_whether_from_the_file_or_an_option(tmp_path):
    file = tmp_path / "sweep.yaml"
    file.write_text(f'tracking: {{uri: "{URI}"}}')
    config, source = read_sweep(file, [f"tracking.uri={URI}", f"tracking={{uri: '{URI}'}}"])
    assert config.tracking.uri == URI
    assert as_journaled(config)["tracking"]["uri"] == HIDDEN
    assert source.settings == (("tracking.uri", HIDDEN), ("tracking", {"uri": HIDDEN}))


def test_nor_has_the_sweep_file_among_the_artifacts(tmp_path, prepared):
    record = RecordWriter().record
    record.started.config["tracking"]["uri"] = URI  # by hand
    folder = write_sweep_artifacts(tmp_path, record, prepared)
    assert load_sweep(folder / "sweep.yaml").tracking.uri == HIDDEN


class TestAnAddressFromTheJournal:
    OTHER = URI.replace("db.", "other.")

    @pytest.mark.parametrize("address", ["sqlite:////home/x/mlflow.db", "http://mlflow.example.org:5000"])
    def test_is_not_changed_by_a_secret_that_is_an_ordinary_word(self, monkeypatch, address):
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "mlflow")
        assert remember_address(address) == whole_address(address) == address

    def test_is_whole_in_the_process_that_knew_it(self):
        assert whole_address(remember_address(URI)) == URI

    def test_takes_the_password_from_the_environment(self, monkeypatch):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", self.OTHER)
        assert whole_address(hide_password(self.OTHER)) == self.OTHER

    def test_says_where_else_the_password_is_looked_for(self):
        with pytest.raises(TrackingError, match="password is not in the journal; set MLFLOW_TRACKING_URI"):
            whole_address(hide_password(self.OTHER))

    def test_without_a_password_is_itself(self):
        assert whole_address("http://host:5000") == "http://host:5000"
