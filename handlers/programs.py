"""What programs do: a table from a program, its sub-command and its flags to an effect."""

from functools import cache

from schemas.weights import Effect

Rules = tuple[tuple[str, Effect], ...]
"""Patterns and effects; the first pattern that matches counts.

A pattern is words: those without a dash must be the first plain arguments, in order (`a|b`: either; `*`: any); those
with a dash must be among the flags, in any order (`-f|--force`: either). An empty pattern always matches.
"""

E = Effect

_GROUPS: dict[str, Effect] = {
    ": echo printf true false test [ [[ sleep cd pwd exit return break continue wait date hostname whoami id uname clear"
    " pushd popd set shopt trap type which local read seq basename dirname realpath expr let getopts umask"
    " export declare readonly typeset unset unsetenv alias source . noop module": E.NOTHING,
    "ls dir cat bat head tail less more grep egrep fgrep rg ag ack wc sort uniq cut tr awk gawk sed find fd locate stat"
    " file du df free top htop ps pgrep uptime lsof netstat ss ip ifconfig dig nslookup host ping traceroute diff cmp"
    " comm md5sum sha1sum sha256sum shasum jq yq xxd hexdump od strings tree column nl tac rev fold paste join vmstat"
    " iostat sar dmesg journalctl last who w groups getent man info help base64 zcat zgrep nm objdump readelf ldd"
    " envsubst tput openssl cloc nproc lscpu lsblk bench time readlink zless exiftool": E.INSPECT,
    "pytest tox nox unittest jest mocha vitest ava rspec phpunit ctest behave cypress playwright phpcs mypy pyright ruff"
    " flake8 pylint black isort eslint prettier tsc shellcheck hadolint yamllint bandit coverage pre-commit rubocop"
    " golangci-lint clang-tidy stylelint locust hey ab wrk siege k6": E.TEST,
    "make cmake ninja gcc g++ clang cc ld rustc javac webpack rollup vite esbuild bazel ant msbuild gradlew mvnw sphinx-build"
    " mkdocs protoc openapi-generator swagger-cli swagger-codegen prettier-eslint sass": E.BUILD,
    "touch mkdir cp mv ln tee patch install rename unzip tar zip gzip gunzip bzip2 xz 7z split truncate chown chgrp chmod"
    " vim vi nano ed emacs dos2unix unix2dos convert ffmpeg mktemp setfacl rsync": E.EDIT,
    "python python3 python2 node deno bun ruby perl php java lua Rscript julia bash sh zsh dash ksh ash fish"
    " spark-submit npx bunx uvx pipx airflow dbt celery uvicorn gunicorn flask": E.RUN,
    "rm rmdir unlink shred wipe srm": E.REMOVE,
    "mkfs mkfs.ext4 mkfs.xfs wipefs fdisk parted sgdisk mkswap": E.DESTROY,
    "kill pkill killall xkill": E.STOP,
    "wget curl aria2c fetch http https": E.FETCH,
    "nc ncat netcat socat telnet ftp sftp scp mail sendmail mutt msmtp": E.SEND,
    "ssh mosh ansible ansible-playbook salt fab pssh": E.REMOTE,
    "systemctl service initctl rc-service supervisorctl pm2 launchctl": E.SERVICE,
    "crontab at batch schtasks": E.SCHEDULE,
    "sysctl timedatectl localectl hostnamectl mount umount swapon swapoff iptables ip6tables nft ufw firewall-cmd insmod"
    " modprobe rmmod update-alternatives ldconfig setenforce grub-install update-grub sysctl.conf reboot shutdown halt"
    " poweroff init telinit loginctl alternatives dpkg-reconfigure": E.SYSTEM,
    "useradd adduser usermod userdel deluser groupadd groupmod groupdel gpasswd passwd chpasswd visudo su runuser sudo"
    " doas pkexec setcap chattr htpasswd": E.ESCALATE,
    "printenv": E.REVEAL,
    "stress stress-ng xmrig minerd cpuminer cgminer ethminer hashcat john yes sysbench": E.EXHAUST,
    "pbcopy xclip xsel wl-copy": E.SEND,
}

_TABLE: dict[str, Rules] = {
    "sed": (("-i|--in-place|-i.bak", E.EDIT), ("", E.INSPECT)),
    "perl": (("-i|-pi|-i.bak", E.EDIT), ("", E.RUN)),
    "find": (("-delete", E.REMOVE_TREE), ("-fprint|-fls", E.EDIT), ("", E.INSPECT)),
    "env": (("", E.REVEAL),),
    "tar": (("-x|--extract|x|xf|xzf|xvf|xzvf|-c|--create|c|cf|czf|cvf|czvf|-r|-u", E.EDIT), ("", E.INSPECT)),
    "rm": (("-r|-R|--recursive", E.REMOVE_TREE), ("", E.REMOVE)),
    "chmod": (("-R|--recursive 777|a+rwx|0777|666|a+w|o+w|+w", E.PERMIT), ("777|0777|666|0666|a+rwx|a+w|o+w", E.PERMIT),
              ("u+s|g+s|4755|2755|6755|+s", E.ESCALATE), ("", E.EDIT)),
    "chown": (("", E.EDIT),),
    "setfacl": (("", E.PERMIT),),
    "rsync": (("--delete|--delete-after|--delete-before|--delete-during|--del|--remove-source-files", E.REMOVE_TREE),
              ("", E.EDIT)),
    "dd": (("", E.EDIT),),
    "truncate": (("", E.REMOVE),),
    "openssl": (("s_client", E.FETCH), ("rsa|pkey|ec|pkcs12 -noout", E.INSPECT), ("rsa|pkey|ec|pkcs12", E.REVEAL),
                ("", E.INSPECT)),
    "pytest": (("--collect-only|--co", E.INSPECT), ("", E.TEST)),
    "curl": (
        ("-T|--upload-file|-F|--form", E.SEND),
        ("-X|--request DELETE", E.REMOTE),
        ("-d|--data|--data-raw|--data-binary|--data-urlencode|--json", E.SEND),
        ("-XPOST|-XPUT|-XPATCH|-XDELETE", E.SEND),
        ("-X|--request POST|PUT|PATCH", E.SEND),
        ("", E.FETCH),
    ),
    "wget": (
        ("--post-data|--post-file|--body-data|--body-file", E.SEND),
        ("-r|--recursive|-m|--mirror", E.EXHAUST),
        ("", E.FETCH),
    ),
    "git": (
        ("push --force|-f|--force-with-lease|--mirror|--delete|-d", E.REWRITE),
        ("push --no-verify", E.SKIP_CHECK),
        ("push", E.PUSH),
        ("commit --no-verify|-n", E.SKIP_CHECK),
        ("merge|rebase|am|cherry-pick --no-verify", E.SKIP_CHECK),
        ("commit --amend", E.DISCARD),
        ("commit|add|stage|merge|cherry-pick|revert|am|apply|pull|switch|init|clone|submodule|worktree|notes|mv", E.COMMIT),
        ("rebase", E.DISCARD),
        ("reset --hard", E.DISCARD),
        ("reset|restore", E.COMMIT),
        ("checkout --|-f|--force", E.DISCARD),
        ("checkout", E.COMMIT),
        ("clean -f|--force", E.DISCARD),
        ("rm", E.REMOVE),
        ("filter-branch|filter-repo|update-ref", E.REWRITE),
        ("reflog expire|delete", E.REWRITE),
        ("gc --prune", E.DISCARD),
        ("branch -D|--delete|-d", E.DISCARD),
        ("tag -d|--delete", E.DISCARD),
        ("stash drop|clear", E.DISCARD),
        ("stash|tag|branch|fetch|remote|lfs", E.COMMIT),
        ("config --get|-l|--list|--get-all", E.INSPECT),
        ("config --global|--system", E.SYSTEM),
        ("config core.hooksPath|http.sslVerify|commit.gpgsign", E.SKIP_CHECK),
        ("config", E.EDIT),
        ("", E.INSPECT),
    ),
    "gh": (
        ("pr|issue|run|release|repo|workflow|auth list|view|status|checks|watch|diff|download", E.INSPECT),
        ("auth token", E.REVEAL),
        ("pr merge --admin", E.SKIP_CHECK),
        ("repo delete|archive", E.DESTROY),
        ("release|gist create", E.PUBLISH),
        ("secret|variable set|remove|delete", E.ESCALATE),
        ("api -X|--method|-f|-F", E.SEND),
        ("api", E.FETCH),
        ("", E.REMOTE),
    ),
    "pip": (
        ("list|show|freeze|check|--version|config|cache", E.INSPECT),
        ("download", E.FETCH),
        ("uninstall", E.REMOVE),
        ("install --index-url|-i|--extra-index-url|--trusted-host", E.REMOTE_CODE),
        ("install|wheel", E.INSTALL),
        ("", E.INSPECT),
    ),
    "npm": (
        ("publish|unpublish|deprecate", E.PUBLISH),
        ("login|adduser|token|owner|access", E.ESCALATE),
        ("config set", E.EDIT),
        ("test|t|tst", E.TEST),
        ("run|run-script|build|start|exec|ci", E.BUILD),
        ("install|i|add|update|up|upgrade|audit|link", E.INSTALL),
        ("uninstall|remove|rm|prune", E.REMOVE),
        ("", E.INSPECT),
    ),
    "poetry": (("publish", E.PUBLISH), ("add|install|update|lock", E.INSTALL), ("remove", E.REMOVE), ("run|build", E.BUILD),
               ("", E.INSPECT)),
    "uv": (("publish", E.PUBLISH), ("add|sync|pip|tool|lock", E.INSTALL), ("remove", E.REMOVE), ("run|build", E.RUN),
           ("", E.INSPECT)),
    "cargo": (("publish|yank", E.PUBLISH), ("install|add|update", E.INSTALL), ("test|clippy|fmt|check|bench", E.TEST),
              ("run", E.RUN), ("", E.BUILD)),
    "go": (("test|vet|fmt", E.TEST), ("get|install|mod", E.INSTALL), ("run", E.RUN), ("version|env|list|doc", E.INSPECT),
           ("", E.BUILD)),
    "mvn": (("deploy|release:perform", E.PUBLISH), ("test|verify", E.TEST), ("", E.BUILD)),
    "gradle": (("publish|publishToMavenCentral", E.PUBLISH), ("test|check", E.TEST), ("", E.BUILD)),
    "gem": (("push|yank", E.PUBLISH), ("install|update", E.INSTALL), ("", E.INSPECT)),
    "twine": (("upload", E.PUBLISH), ("", E.INSPECT)),
    "apt": (("list|show|search|policy", E.INSPECT), ("remove|purge|autoremove", E.SYSTEM), ("", E.INSTALL)),
    "brew": (("list|info|search", E.INSPECT), ("", E.INSTALL)),
    "docker": (
        ("system|volume|image|container|network prune -a|--all|--volumes", E.DESTROY),
        ("system|volume prune", E.DESTROY),
        ("image|container|network|builder|buildx prune", E.REMOVE),
        ("volume rm", E.DESTROY),
        ("rm|rmi", E.REMOVE),
        ("container|image|network rm", E.REMOVE),
        ("push", E.PUBLISH),
        ("run|create --privileged", E.ESCALATE),
        ("run|exec|create|start", E.RUN),
        ("compose|stack down -v|--volumes", E.DESTROY),
        ("compose|stack down|stop|rm|restart", E.SERVICE),
        ("compose|stack up|deploy|run|exec|start|build", E.RUN),
        ("compose|stack", E.INSPECT),
        ("stop|kill|restart|pause|update", E.SERVICE),
        ("build|buildx|builder|tag|commit|pull|load|save|cp|import|export", E.BUILD),
        ("login|swarm|secret", E.ESCALATE),
        ("", E.INSPECT),
    ),
    "kubectl": (
        ("get|describe secret|secrets -o|--output", E.REVEAL),
        ("get|describe|logs|top|explain|version|cluster-info|api-resources|config|diff|wait|events|auth", E.INSPECT),
        ("rollout status|history", E.INSPECT),
        ("delete ns|namespace|namespaces|pv|pvc|crd|node|nodes|clusterrole|clusterrolebinding", E.DESTROY),
        ("delete --all|-A|--all-namespaces|--force", E.DESTROY),
        ("delete", E.DEPLOY),
        ("drain|cordon|taint", E.SYSTEM),
        ("create clusterrolebinding|rolebinding|clusterrole|role|serviceaccount|token", E.ESCALATE),
        ("certificate", E.ESCALATE),
        ("create|patch|edit secret|secrets", E.DEPLOY),
        ("replace --force", E.DESTROY),
        ("exec|attach|debug|cp|port-forward|proxy|run", E.REMOTE),
        ("", E.DEPLOY),
    ),
    "helm": (("list|status|get|history|template|lint|show|search|repo|dep|diff", E.INSPECT), ("uninstall|delete", E.DESTROY),
             ("", E.DEPLOY)),
    "terraform": (
        ("destroy", E.DESTROY),
        ("apply -destroy|--destroy", E.DESTROY),
        ("apply|import|taint|untaint", E.DEPLOY),
        ("state rm|mv|push|replace-provider", E.REWRITE),
        ("state pull", E.REVEAL),
        ("force-unlock", E.SKIP_CHECK),
        ("workspace delete", E.DESTROY),
        ("", E.INSPECT),
    ),
    "aws": (
        ("iam|sts|organizations|sso get*|list*", E.INSPECT),
        ("sts get-session-token|assume-role", E.ESCALATE),
        ("iam|organizations|sso-admin|identitystore", E.ESCALATE),
        ("secretsmanager get-secret-value", E.REVEAL),
        ("ssm get-parameter|get-parameters|get-parameters-by-path --with-decryption", E.REVEAL),
        ("kms schedule-key-deletion|disable-key", E.DESTROY),
        ("s3 rb", E.DESTROY),
        ("s3 rm --recursive", E.DESTROY),
        ("s3 rm", E.REMOVE_TREE),
        ("s3 sync --delete", E.REMOVE_TREE),
        ("s3 ls|presign", E.INSPECT),
        ("s3 cp|mv|sync", E.SEND),
        ("s3api put-bucket-policy|put-bucket-acl|put-object-acl|put-public-access-block|delete-public-access-block", E.PERMIT),
        ("cloudtrail stop-logging|delete-trail|update-trail", E.DESTROY),
        ("ec2 authorize-security-group-ingress", E.PERMIT),
        ("* delete*|terminate*|remove*|purge*|deregister*", E.DESTROY),
        ("* describe*|get*|list*|head*|scan|query|wait|help", E.INSPECT),
        ("", E.DEPLOY),
    ),
    "gcloud": (
        ("secrets versions access", E.REVEAL),
        ("auth print-access-token", E.REVEAL),
        ("projects add-iam-policy-binding", E.ESCALATE),
        ("iam", E.ESCALATE),
        ("* delete", E.DESTROY), ("* * delete", E.DESTROY), ("* * * delete", E.DESTROY),
        ("* list|describe", E.INSPECT), ("* * list|describe", E.INSPECT), ("config|info|version", E.INSPECT),
        ("", E.DEPLOY),
    ),
    "az": (
        ("keyvault secret show|download", E.REVEAL),
        ("role|ad", E.ESCALATE),
        ("* delete", E.DESTROY), ("* * delete", E.DESTROY),
        ("* list|show", E.INSPECT), ("* * list|show", E.INSPECT),
        ("", E.DEPLOY),
    ),
    "vault": (("read|kv|unwrap", E.REVEAL), ("status|version|list", E.INSPECT), ("delete|destroy", E.DESTROY),
              ("", E.ESCALATE)),
    "redis-cli": (
        ("FLUSHALL|FLUSHDB|flushall|flushdb|SHUTDOWN|shutdown", E.ERASE),
        ("CONFIG|config GET|get requirepass|masterauth|*pass*", E.REVEAL),
        ("CONFIG|config SET|set|REWRITE|rewrite", E.ALTER),
        ("ACL|acl", E.ESCALATE),
        ("DEL|del|UNLINK|unlink|EXPIRE|expire|RENAME|rename", E.ALTER),
        ("SET|set|HSET|hset|LPUSH|lpush|RPUSH|rpush|INCR|incr|SADD|sadd|ZADD|zadd|MSET|mset|EVAL|eval", E.ALTER),
        ("", E.QUERY),
    ),
    "mongodump": (("", E.SEND),),
    "pg_dump": (("", E.INSPECT),),
    "pg_dumpall": (("", E.INSPECT),),
    "mysqldump": (("", E.INSPECT),),
    "pg_restore": (("-c|--clean", E.ERASE), ("", E.ALTER)),
    "dropdb": (("", E.ERASE),),
    "createuser": (("", E.ESCALATE),),
    "dropuser": (("", E.ESCALATE),),
    "prisma": (("migrate reset", E.ERASE), ("db push --accept-data-loss|--force-reset", E.ERASE),
               ("migrate status|diff", E.INSPECT), ("validate|format|generate|version|studio", E.BUILD), ("", E.ALTER)),
    "alembic": (("downgrade", E.ERASE), ("current|history|heads|show|check", E.INSPECT), ("", E.ALTER)),
    "systemctl": (
        ("status|show|list-units|list-timers|is-active|is-enabled|cat|is-failed|list-unit-files", E.INSPECT),
        ("enable|mask|disable|link|set-default|isolate|edit|daemon-reload", E.SYSTEM),
        ("reboot|poweroff|halt", E.SYSTEM),
        ("", E.SERVICE),
    ),
    "service": (("* status", E.INSPECT), ("", E.SERVICE)),
    "crontab": (("-l", E.INSPECT), ("-r", E.DESTROY), ("", E.SCHEDULE)),
    "timedatectl": (("status|list-timezones|show", E.INSPECT), ("set*", E.SYSTEM), ("", E.INSPECT)),
    "hostnamectl": (("set*", E.SYSTEM), ("", E.INSPECT)),
    "sysctl": (("-w|-p|--write|--load|--system", E.SYSTEM), ("*=*", E.SYSTEM), ("", E.INSPECT)),
    "mount": (("*", E.SYSTEM), ("", E.INSPECT)),
    "iptables": (("-L|--list|-S", E.INSPECT), ("", E.SYSTEM)),
    "ufw": (("status", E.INSPECT), ("", E.SYSTEM)),
    "history": (("-c|-d|-w", E.DESTROY), ("", E.INSPECT)),
    "journalctl": (("--vacuum-time|--vacuum-size|--rotate|--flush", E.DESTROY), ("", E.INSPECT)),
    "gpg": (("--export-secret-keys|--export-secret-subkeys", E.REVEAL), ("--delete-secret-keys", E.DESTROY), ("", E.INSPECT)),
    "ssh-keygen": (("", E.EDIT),),
    "nohup": (("", E.RUN),),
}

_SAME_AS: dict[str, str] = {
    "pip3": "pip",
    "pipenv": "pip",
    "conda": "pip",
    "yarn": "npm",
    "pnpm": "npm",
    "apt-get": "apt",
    "aptitude": "apt",
    "yum": "apt",
    "dnf": "apt",
    "apk": "apt",
    "snap": "apt",
    "podman": "docker",
    "nerdctl": "docker",
    "docker-compose": "docker compose",
    "oc": "kubectl",
    "tofu": "terraform",
    "terragrunt": "terraform",
    "valkey-cli": "redis-cli",
    "py.test": "pytest",
}

VALUE_FLAGS: dict[str, frozenset[str]] = {
    # flags whose value is a word of its own, before the sub-command
    "git": frozenset({"-C", "-c", "--git-dir", "--work-tree", "-m", "--message", "-b", "-B", "--author", "-F"}),
    "kubectl": frozenset({"-n", "--namespace", "--context", "--kubeconfig", "-l", "--selector", "-c", "--container", "-s"}),
    "helm": frozenset({"-n", "--namespace", "--kube-context", "--kubeconfig"}),
    "docker": frozenset({"-H", "--host", "--context", "-f", "--file", "-p", "--project-name", "--env-file"}),
    "aws": frozenset({"--profile", "--region", "--output", "--query", "--endpoint-url"}),
    "gcloud": frozenset({"--project", "--account"}),
    "redis-cli": frozenset({"-h", "-p", "-a", "-n", "-u", "--user", "--pass"}),
    "pip": frozenset({"-r", "--target", "--index-url", "-i", "--extra-index-url"}),
    "npm": frozenset({"--prefix"}),
    "terraform": frozenset(),
    "systemctl": frozenset({"-H", "--host", "-M"}),
}


def effect_of(words: tuple[str, ...]) -> Effect | None:
    """What a command does, by its program, sub-command and flags; None for a program that the table does not know."""
    program, arguments = words[0], words[1:]
    same = _SAME_AS.get(program, program).split()
    program, arguments = same[0], (*same[1:], *arguments)
    plain, flags = arguments_of(program, arguments)
    for wanted_plain, wanted_flags, effect in _compiled(program):
        if _leads(wanted_plain, plain) and all(flags & one for one in wanted_flags):
            return effect
    return _groups().get(program)


def arguments_of(program: str, arguments: tuple[str, ...]) -> tuple[list[str], set[str]]:
    """A command's plain arguments, and its flags without their values; `-rf` is also `-r` and `-f`."""
    valued = VALUE_FLAGS.get(program, frozenset())
    plain: list[str] = []
    flags: set[str] = set()
    skip = False
    for word in arguments:
        if skip:
            skip = False
        elif word.startswith("-") and len(word) > 1:
            flags.update(_flags(word))
            skip = word in valued
        else:
            plain.append(word)
    return plain, flags


def _flags(word: str) -> set[str]:
    name = word.partition("=")[0]
    if word.startswith("--") or len(name) > 6:  # noqa: PLR2004  # longer ones are words with one dash, as terraform's
        return {name}
    return {name, *(f"-{letter}" for letter in name[1:])}


@cache
def _compiled(program: str) -> tuple[tuple[tuple[frozenset[str], ...], tuple[frozenset[str], ...], Effect], ...]:
    return tuple((*_pattern(pattern), effect) for pattern, effect in _TABLE.get(program, ()))


def _pattern(pattern: str) -> tuple[tuple[frozenset[str], ...], tuple[frozenset[str], ...]]:
    words = [frozenset(word.split("|")) for word in pattern.split()]
    plain = tuple(word for word in words if not any(one.startswith("-") for one in word))
    return plain, tuple(word for word in words if any(one.startswith("-") for one in word))


def _leads(wanted: tuple[frozenset[str], ...], plain: list[str]) -> bool:
    return len(plain) >= len(wanted) and all(_is_one_of(word, one) for one, word in zip(wanted, plain, strict=False))


def _is_one_of(word: str, wanted: frozenset[str]) -> bool:
    if word in wanted or "*" in wanted:
        return True
    return any(
        _matches(word, one) for one in wanted if "*" in one
    )


def _matches(word: str, pattern: str) -> bool:
    """Whether the word is the pattern, in which `*` stands for anything at either end or in the middle."""
    first, *middle, last = pattern.split("*")
    return word.startswith(first) and word.endswith(last) and all(part in word for part in middle)


@cache
def _groups() -> dict[str, Effect]:
    return {program: effect for programs, effect in _GROUPS.items() for program in programs.split()}
