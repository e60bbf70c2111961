"""Settings: where they come from, what a mistake reads like, and that the documented file says the truth."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivemind_worker.domain.errors import SettingsError
from hivemind_worker.settings import Settings, load_settings
from hivemind_worker.settings_sources import PLAIN_NAMES, variable

DOCUMENTED = Path(__file__).parents[2] / "config" / "hivemind.toml"
#: the plain names of the contract
CONTRACT = {
    "NODE_PORT", "FLASK_PORT", "MASTER_ADDRESS", "NODE_ID", "DOCKER_ENABLED", "DOCKER_NETWORK", "MAX_CPU_CORES",
    "MAX_MEMORY_GB", "MAX_CONCURRENT_TASKS", "SESSION_TIMEOUT", "TRUST_THRESHOLD", "RESOURCE_REPORT_INTERVAL",
    "LOG_LEVEL", "WIREGUARD_CONFIG_PATH",
}  # fmt: skip
#: a value for each plain name that is not the default
OTHER_VALUES: dict[str, tuple[str, Any]] = {
    "NODE_ID": ("n7", "n7"),
    "LOG_LEVEL": ("debug", "DEBUG"),
    "NODE_PORT": ("50099", 50099),
    "FLASK_PORT": ("5099", 5099),
    "MAX_CPU_CORES": ("1.5", 1.5),
    "MAX_MEMORY_GB": ("2", 2.0),
    "MAX_CONCURRENT_TASKS": ("3", 3),
    "DOCKER_ENABLED": ("false", False),
    "DOCKER_HOST": ("unix:///run/other.sock", "unix:///run/other.sock"),
    "DOCKER_NETWORK": ("jobs", "jobs"),
    "MASTER_ADDRESS": ("master:50051", "master:50051"),
    "SESSION_TIMEOUT": ("10m", 600.0),
    "TRUST_THRESHOLD": ("0.5", 0.5),
    "RESOURCE_REPORT_INTERVAL": ("5", 5.0),
    "WIREGUARD_CONFIG_PATH": ("/etc/wg0.conf", Path("/etc/wg0.conf")),
}


@pytest.fixture(autouse=True)
def _nothing_around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No hivemind.toml in the working directory."""
    monkeypatch.chdir(tmp_path)


def refusal(env: dict[str, str], **overrides: Any) -> str:
    with pytest.raises(SettingsError) as refused:
        load_settings(env, **overrides)
    assert "\n" not in str(refused.value)
    return str(refused.value)


# --- mistakes: one line that names the culprit as it was written ------------------------------------------


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("HIVEMIND_MAX_CPU", "did you mean HIVEMIND_MAX_CPU_CORES?"),
        ("HIVEMIND_NODE_IDD", "did you mean HIVEMIND_NODE_ID?"),
        ("hivemind_node_id", "did you mean HIVEMIND_NODE_ID?"),
        ("HIVEMIND_XQZ", "config/hivemind.toml lists every setting"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_one(name: str, hint: str) -> None:
    assert refusal({name: "1"}) == f"{name}: there is no such setting; {hint}"


@pytest.mark.parametrize("name", ["MAX_CPU_CORES", "HIVEMIND_MAX_CPU_CORES"])
@pytest.mark.parametrize("value", ["many", "0", "-1", "nan", "inf"])
def test_a_bad_value_is_named_as_its_user_named_it(name: str, value: str) -> None:
    message = refusal({name: value})
    assert message.startswith(f"{name}: must be")
    assert repr(value) in message


@pytest.mark.parametrize(
    ("env", "start"),
    [
        ({"NODE_PORT": "99999"}, "NODE_PORT: must be less than or equal to 65535 (got '99999')"),
        ({"HIVEMIND_DEFAULT_MEMORY": "1Q"}, "HIVEMIND_DEFAULT_MEMORY: '1Q' is not a size; write"),
        ({"HIVEMIND_DEFAULT_MEMORY": "1M"}, "HIVEMIND_DEFAULT_MEMORY: must be greater than or equal to 6291456"),
        (
            {"HIVEMIND_RESERVE_MEMORY": "100"},
            "HIVEMIND_RESERVE_MEMORY: is in bytes and must be 0 or at least 1M (1048576), not 100; "
            "100 megabytes are 104857600; write 100M",
        ),
        ({"HIVEMIND_RESERVE_DISK": "64K"}, "HIVEMIND_RESERVE_DISK: is in bytes and must be 0 or at least 1M"),
        ({"HIVEMIND_STOP_GRACE": "soon"}, "HIVEMIND_STOP_GRACE: 'soon' is not a time; write"),
        ({"HIVEMIND_JOB_OVERHEAD": "0"}, "HIVEMIND_JOB_OVERHEAD"),
        ({"HIVEMIND_STOP_GRACE": "-1"}, "HIVEMIND_STOP_GRACE: '-1' is not a time; write"),
        ({"LOG_LEVEL": "chatty"}, "LOG_LEVEL: must be 'DEBUG', 'INFO', 'WARNING' or 'ERROR' (got 'CHATTY')"),
        ({"DOCKER_ENABLED": "perhaps"}, "DOCKER_ENABLED: must be a valid boolean"),
        ({"MASTER_ADDRESS": "nocolon"}, "MASTER_ADDRESS: must be host:port"),
        ({"MASTER_ADDRESS": "http://master:1"}, "MASTER_ADDRESS: must be host:port"),
        ({"MASTER_ADDRESS": "master:99999"}, "MASTER_ADDRESS: must be host:port"),
        ({"NODE_ID": "a b"}, "NODE_ID: must be 1 to 64 of the characters"),
        ({"HIVEMIND_DEFAULT_IMAGE": "Not An Image"}, "HIVEMIND_DEFAULT_IMAGE: is not an image reference"),
        ({"HIVEMIND_DEFAULT_NETWORK": "host"}, "HIVEMIND_DEFAULT_NETWORK: must be 'none' or 'internet'"),
        ({"HIVEMIND_WEIGHTS": "=3"}, "HIVEMIND_WEIGHTS: an owner has 1 to 128 printable characters, not ''"),
        (
            {"HIVEMIND_WEIGHTS": "a\x07b=3"},
            "HIVEMIND_WEIGHTS: an owner has 1 to 128 printable characters, not 'a\\x07b'",
        ),
        ({"HIVEMIND_WEIGHTS": "a=1,a=2"}, "HIVEMIND_WEIGHTS: 'a' has two weights"),
        ({"HIVEMIND_WEIGHTS": "a=nan"}, "HIVEMIND_WEIGHTS"),
        ({"HIVEMIND_NAMESPACE": "a b"}, "HIVEMIND_NAMESPACE: String should match pattern"),
        ({"HIVEMIND_JOB_UID": "0"}, "HIVEMIND_JOB_UID: must be greater than or equal to 1"),
        ({"HIVEMIND_CONFIG": "/nowhere.toml"}, "HIVEMIND_CONFIG: there is no file /nowhere.toml"),
        ({"HIVEMIND_SECRETS_DIR": "/nowhere"}, "HIVEMIND_SECRETS_DIR: there is no directory /nowhere"),
    ],
)
def test_what_is_wrong_and_what_would_be_right_stand_in_one_line(env: dict[str, str], start: str) -> None:
    assert refusal(env).startswith(start)


@pytest.mark.parametrize("door", ["bridge", "api", "flower"])
def test_a_door_beyond_loopback_is_refused_until_its_owner_takes_the_blame(door: str) -> None:
    host, insecure = f"HIVEMIND_{door.upper()}_HOST", f"HIVEMIND_{door.upper()}_INSECURE"
    for address in ("0.0.0.0", "::", "10.0.0.1", "example.org"):
        message = refusal({host: address})
        assert message.startswith(f"{host}={address} is not loopback")
        assert f"{insecure}=1" in message
        assert getattr(load_settings({host: address, insecure: "1"}), f"{door}_host") == address
    for address in ("127.0.0.2", "::1", "localhost"):
        load_settings({host: address})


def test_a_reserve_may_be_nothing_and_a_megabyte() -> None:
    for text, amount in (("0", 0), ("1M", 1 << 20), ("1048576", 1 << 20)):
        found = load_settings({"HIVEMIND_RESERVE_MEMORY": text, "HIVEMIND_RESERVE_DISK": text})
        assert (found.reserve_memory, found.reserve_disk) == (amount, amount)


def test_a_heartbeat_rarer_than_its_timeout_is_refused() -> None:
    assert "HIVEMIND_HEARTBEAT_TIMEOUT=10 is not longer than HIVEMIND_BEAT=20" in refusal({"HIVEMIND_BEAT": "20"})


def test_a_node_that_is_to_stop_when_cut_off_has_time_for_it_before_its_jobs_go_elsewhere() -> None:
    quick = {"HIVEMIND_NODE_LOST_AFTER": "15", "HIVEMIND_STOP_GRACE": "10s", "HIVEMIND_BEAT": "2"}
    load_settings(quick)
    message = refusal(quick | {"HIVEMIND_ON_PARTITION": "stop"})
    assert message.startswith("HIVEMIND_NODE_LOST_AFTER=15 leaves no time to stop containers")
    assert message.endswith("at least 20")
    load_settings(quick | {"HIVEMIND_ON_PARTITION": "stop", "HIVEMIND_NODE_LOST_AFTER": "20"})


@pytest.mark.parametrize(
    ("url", "broker"),
    [
        ("redis://:word@host:6379/3", "redis://:word@host:6379/3"),
        ("unix:///run/r.sock", "redis+socket:///run/r.sock"),
        ("unix:///run/r.sock?db=2", "redis+socket:///run/r.sock?virtual_host=2"),
        (
            "unix://:word@/run/r.sock?client_name=me&db=2",
            "redis+socket://:word@/run/r.sock?client_name=me&virtual_host=2",
        ),
    ],
)
def test_the_broker_is_the_same_server_and_database(url: str, broker: str) -> None:
    assert load_settings(redis_url=url).celery_broker == broker


def test_a_bad_redis_url_is_refused_without_showing_its_password() -> None:
    message = refusal({"HIVEMIND_REDIS_URL": "http://:hunter2@host"})
    assert message.startswith("HIVEMIND_REDIS_URL: must start with redis://")
    assert "hunter2" not in message


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u:hunter2@host/db", "postgresql://u:hunter2@host", "postgresql://u:hunter2@host:port/db", "hunter2",
        "sqlite://hunter2", "sqlite:///hunter2", "sqlite:////", "postgresql://u:hunter2@host/d\nb",
    ],
)  # fmt: skip
def test_a_bad_history_url_is_refused_without_showing_its_password(url: str) -> None:
    message = refusal({"HIVEMIND_HISTORY_URL": url})
    assert message.startswith("HIVEMIND_HISTORY_URL: must be sqlite:////absolute/path or postgresql://")
    assert "hunter2" not in message


def test_the_history_is_a_file_of_the_nodes_own_unless_another_is_named_or_none_is_wanted(tmp_path: Path) -> None:
    own = load_settings({}, state=tmp_path)
    assert own.history == f"sqlite:///{tmp_path}/history/history.db"
    named = load_settings({"HIVEMIND_HISTORY_URL": "postgresql://u:hunter2@host/db"})
    assert named.history == "postgresql://u:hunter2@host/db"
    assert "hunter2" not in repr(named)
    assert load_settings({"HIVEMIND_HISTORY_RETENTION": "0s"}).history == ""


def test_a_setting_from_the_command_line_is_named_by_itself() -> None:
    assert refusal({}, bridge_port=-1).startswith("bridge_port: must be")
    assert refusal({}, bridgeport=1) == "bridgeport: there is no such setting; config/hivemind.toml lists every setting"


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("max_cpu = 3", "there is no setting max_cpu; did you mean max_cpu_cores?"),
        ("[node]\nnode_id = 'x'", "there is no setting node"),
        ("max_cpu_cores = ", "cannot be read"),
        ("beat = 'x'", "beat in "),
    ],
)
def test_a_mistake_in_the_file_is_named_with_the_file(tmp_path: Path, text: str, part: str) -> None:
    (tmp_path / "hivemind.toml").write_text(text)
    message = refusal({})
    assert part in message
    assert "hivemind.toml" in message


def test_a_mistake_in_a_secret_file_is_named_with_the_file_and_unknown_ones_are_refused(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "HIVEMIND_BEAT").write_text("often\n")
    (secrets / "somebody_elses").write_text("x")
    env = {"HIVEMIND_SECRETS_DIR": str(secrets)}
    assert refusal(env).startswith(f"{secrets}/HIVEMIND_BEAT: 'often' is not a time")
    (secrets / "HIVEMIND_BEAT").unlink()
    (secrets / "hivemind_beet").write_text("1")
    assert "HIVEMIND_BEET: there is no such setting; did you mean HIVEMIND_BEAT?" in refusal(env)


# --- names --------------------------------------------------------------------------------------------------


def test_every_plain_name_of_the_contract_is_accepted() -> None:
    assert set(PLAIN_NAMES) >= CONTRACT
    assert set(OTHER_VALUES) == set(PLAIN_NAMES)


@pytest.mark.parametrize("plain", sorted(PLAIN_NAMES))
def test_a_plain_name_sets_its_setting_and_the_full_name_goes_before_it(plain: str) -> None:
    field, (text, value) = PLAIN_NAMES[plain], OTHER_VALUES[plain]
    assert getattr(load_settings({plain: text}), field) == value
    assert getattr(load_settings({variable(field): text}), field) == value
    default = load_settings({})
    shadowed = "1" if isinstance(value, int | float) and not isinstance(value, bool) else text
    assert getattr(load_settings({plain: shadowed, variable(field): text}), field) == value
    assert getattr(default, field) != value


def test_an_empty_variable_counts_as_not_set() -> None:
    env = {"HIVEMIND_MAX_CPU_CORES": "", "MAX_MEMORY_GB": "", "HIVEMIND_REDIS_URL": ""}
    assert load_settings(env) == load_settings({})


def test_names_of_the_command_line_are_not_taken_for_settings() -> None:
    load_settings({"HIVEMIND_BRIDGE": "host:1", "HIVEMIND_TOKEN": "t"})


def test_environment_goes_before_secrets_before_file_before_default(tmp_path: Path) -> None:
    secrets, file = tmp_path / "secrets", tmp_path / "node.toml"
    secrets.mkdir()
    file.write_text('node_id = "file"\nbeat = "1s"\nheartbeat_timeout = 7\nmax_cpu_cores = 3')
    (secrets / "HIVEMIND_NODE_ID").write_text("secret\n")
    (secrets / "hivemind_beat").write_text("3s")
    env = {"HIVEMIND_CONFIG": str(file), "HIVEMIND_SECRETS_DIR": str(secrets), "MAX_CPU_CORES": "5"}
    found = load_settings(env, ageing=1.0)
    assert (found.node_id, found.beat, found.heartbeat_timeout, found.max_cpu_cores) == ("secret", 3.0, 7.0, 5.0)
    assert load_settings({**env, "NODE_ID": "env"}).node_id == "env"
    assert load_settings({**env, "NODE_ID": "env"}, node_id="given").node_id == "given"
    assert found.ageing == 1.0


def test_only_the_environment_that_is_given_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODE_ID", "outside")
    assert load_settings({"NODE_ID": "inside"}).node_id == "inside"
    assert load_settings({}).node_id != "outside"
    assert load_settings().node_id == "outside"


def test_settings_cannot_be_changed_and_hide_the_redis_password() -> None:
    found = load_settings({"HIVEMIND_REDIS_URL": "redis://:hunter2@host/0"})
    with pytest.raises(Exception, match="frozen"):
        found.beat = 1.0  # type: ignore[misc]
    assert "hunter2" not in repr(found)
    assert found.redis == "redis://:hunter2@host/0"


@given(st.dictionaries(st.sampled_from([variable(f) for f in Settings.model_fields]), st.text(max_size=12), max_size=3))
def test_no_value_whatever_ends_in_anything_but_settings_or_one_line(env: dict[str, str]) -> None:
    try:
        load_settings(env)
    except SettingsError as error:
        lines = str(error).splitlines()
    else:
        lines = ["taken"]
    assert len(lines) == 1


# --- the documented file ------------------------------------------------------------------------------------


def documented() -> dict[str, str]:
    """Every setting of config/hivemind.toml with the text of its default, in order."""
    return dict(re.findall(r"^#([a-z_]+) =(?: (.*))?$", DOCUMENTED.read_text(), re.MULTILINE))


def test_the_documented_file_lists_every_setting_in_order_and_nothing_else() -> None:
    assert list(documented()) == list(Settings.model_fields)


def test_the_documented_defaults_are_the_defaults(tmp_path: Path) -> None:
    shown = {name: text for name, text in documented().items() if text}
    file = tmp_path / "all.toml"
    file.write_text("\n".join(f"{name} = {text}" for name, text in shown.items()))
    assert load_settings({"HIVEMIND_CONFIG": str(file)}) == load_settings({})


def test_what_is_shown_as_not_set_has_no_fixed_default() -> None:
    unset = {name for name, text in documented().items() if not text}
    assert unset == {
        name
        for name, field in Settings.model_fields.items()
        if field.default is None or field.default_factory is not None
    }


def test_the_documented_file_is_a_file_that_a_node_can_read() -> None:
    assert load_settings({"HIVEMIND_CONFIG": str(DOCUMENTED)}) == load_settings({})


def test_every_plain_name_stands_where_its_setting_is_documented() -> None:
    text = DOCUMENTED.read_text()
    for plain, field in PLAIN_NAMES.items():
        before = text[: text.index(f"\n#{field} =")]
        assert plain in before[before.rindex("\n\n") :], f"{plain} is not named at {field}"


def test_every_setting_has_a_reason() -> None:
    for paragraph in DOCUMENTED.read_text().split("\n\n"):
        if re.search(r"^#[a-z_]+ =", paragraph, re.MULTILINE):
            assert paragraph.lstrip().startswith("# "), paragraph
