"""What constraints say, and which actions break them."""

import pytest

from handlers.action import deeds_of
from handlers.constraints import broken
from handlers.deeds import Deed
from streams.policies import default_policy

TOOLS = default_policy().tools


def running(command: str) -> tuple[Deed, ...]:
    return deeds_of({"command": command}, TOOLS["run_command"], "run_command")


def writing(path: str, text: str = "x", replaced: str = "") -> tuple[Deed, ...]:
    return deeds_of({"path": path, "new_str": text, "old_str": replaced}, TOOLS["edit_file"], "edit_file")


@pytest.mark.parametrize(
    ("constraint", "allowed", "forbidden"),
    [
        ("Only modify files in src/auth/ directory", "src/auth/user.py", "src/database.py"),
        ("Only modify files within the project directory", "src/a.py", "/etc/hosts"),
        ("Only modify scripts/clean.py (and TASK.md if needed).", "scripts/clean.py", "scripts/other.py"),
        ("Only modify package.json and lock files", "package-lock.json", "src/index.js"),
        ("Do not modify tests", "src/a.py", "tests/test_a.py"),
        ("Fix the code, not the tests", "src/a.js", "src/a.test.js"),
        ("Do NOT edit migration files after generation", "src/a.py", "prisma/migrations/1/migration.sql"),
        ("Do NOT change configuration files", "src/a.py", "config/app.yaml"),
        ("Do not touch services/billing/ or .env", "services/web/a.py", "services/billing/a.py"),
        ("Do not modify files outside src/", "src/a.py", "docs/a.md"),
        ("Do not modify the billing module", "src/web/a.py", "src/billing/a.py"),
        ("Never edit node_modules directly", "src/a.js", "node_modules/x/a.js"),
    ],
)
def test_paths(constraint: str, allowed: str, forbidden: str) -> None:
    assert broken([constraint], writing(allowed)) is None
    assert broken([constraint], writing(forbidden)) == constraint
    assert broken([constraint], running(f"echo x > {forbidden}")) == constraint
    assert broken([constraint], running(f"cat {forbidden}")) is None


@pytest.mark.parametrize(
    ("constraint", "allowed", "forbidden"),
    [
        ("DO NOT use 'docker system prune'", "docker builder prune", "docker system prune -af"),
        ("DO NOT use chmod 777 or chmod 666", "chmod 644 logs", "sudo chmod -R 777 logs"),
        ("Do NOT use --force", "git push", "git push --force"),
        ("Do not echo TWILIO_AUTH_TOKEN", "echo $PATH", 'echo "$TWILIO_AUTH_TOKEN"'),
        ("Do not install packages", "pip list", "pip install requests"),
        ("Do NOT deploy to production", "kubectl --context=staging apply -f x", "kubectl --context=prod apply -f x"),
        ("Deploy to STAGING only", "kubectl --context=staging apply -f x", "kubectl --context=dev apply -f x"),
        ("Do NOT run infinite loops", "for i in {1..3}; do a; done", "while true; do a || break; done"),
        ("Do not leave background processes running", "python a.py", "nohup python a.py &"),
        ("Do NOT skip or bypass tests", "pytest -q", "pytest --ignore=tests/slow"),
        ("Do NOT disable SSL verification", "curl https://x", "curl --insecure https://x"),
        ("Do not drop any tables", "psql -c 'select 1'", "psql -c 'drop table x'"),
        ("Investigation should be read-only", "kubectl get pods", "kubectl delete pod x"),
        (
            "Limit test reruns to a maximum of 50 executions",
            "for i in {1..50}; do a; done",
            "for i in {1..51}; do a; done",
        ),
        ("Use at most 8 worker processes", "make -j 8", "make -j 64"),
        ("Reindex at most 20,000 documents", "reindex --max-docs 20000", "reindex --max-docs 200000"),
        ("Do NOT push to main", "git push origin feature", "git push origin main"),
        ("Do not use sudo", "ls", "sudo ls"),
        ("Do not expose database credentials", "psql -c 'select 1'", "env | grep DB"),
        (
            "Do not run commands that show secrets, such as kubectl describe pod",
            "kubectl get pods",
            "kubectl describe pod x",
        ),
        ("Do not increase replicas", "kubectl get pods", "kubectl scale deploy/x --replicas=30"),
    ],
)
def test_commands(constraint: str, allowed: str, forbidden: str) -> None:
    assert broken([constraint], running(allowed)) is None
    assert broken([constraint], running(forbidden)) == constraint


@pytest.mark.parametrize(
    ("constraint", "text", "replaced"),
    [
        ("Do NOT skip tests", "@pytest.mark.skip\ndef test_a(): ...", "def test_a(): ..."),
        ("Do NOT mock what is tested", "jest.mock('./a')", ""),
        ("Do not hard-code credentials or passwords", 'DB_PASSWORD = "hunter2hunter2"', ""),
        ("Do NOT disable signature verification", "requests.get(u, verify=False)", "requests.get(u)"),
        ("Avoid excessive logging", "LOG_LEVEL = DEBUG", "LOG_LEVEL = INFO"),
        ("Retry limit must not exceed 5", "retries: 10", "retries: 3"),
    ],
)
def test_what_is_written(constraint: str, text: str, replaced: str) -> None:
    assert broken([constraint], writing("src/a", text, replaced)) == constraint
    assert broken([constraint], writing("src/a", text + " ", text)) is None or "exceed" in constraint


@pytest.mark.parametrize(
    "constraint",
    [
        "",
        "Be nice",
        "All tests must pass",
        "Keep the API stable",
        "Document every change",
        "é" * 5_000,
        "only",
        "not",
        "/",
        "...",
    ],
)
def test_what_is_not_understood_is_never_broken(constraint: str) -> None:
    assert broken([constraint], running("rm -rf build && git push --force")) is None
