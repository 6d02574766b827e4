"""Apache with mod_wsgi: two processes of eight threads each.

``python -m tests.servers.project.apache PORT DIRECTORY``, with an empty directory.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path

PROGRAM = Path("/usr/sbin/apache2")
MODULES = Path("/usr/lib/apache2/modules")
#: A virtual environment of the Python that mod_wsgi was built for, which is Debian's own.
HOME = os.environ.get("CONNMGR_TEST_WSGI_PYTHON", "")
ROOT = Path(__file__).resolve().parents[3]
CONFIGURATION = """
ServerName localhost
ServerRoot "{directory}"
PidFile "{directory}/pid"
Mutex "file:{directory}"
Listen 127.0.0.1:{port}
ErrorLog /dev/stderr
LogLevel warn
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule wsgi_module {modules}/mod_wsgi.so
{user}
WSGISocketPrefix "{directory}/wsgi"
WSGIDaemonProcess project processes=2 threads=8 python-home={home} python-path={code}
WSGIProcessGroup project
WSGIApplicationGroup %{{GLOBAL}}
WSGIScriptAlias / {code}/tests/servers/project/wsgi_script.py
<Directory {code}>
    Require all granted
</Directory>
"""


def lacks() -> str:
    """What is missing here, and where to get it."""
    if not (PROGRAM.exists() and (MODULES / "mod_wsgi.so").exists()):
        return "No Apache with mod_wsgi found. Run 'apt-get install libapache2-mod-wsgi-py3'."
    if not (Path(HOME) / "bin" / "python").exists():
        return (
            "CONNMGR_TEST_WSGI_PYTHON names no virtual environment of the system's Python with "
            "Django and psycopg in it."
        )
    return ""


def _copy_code(to: Path) -> None:
    """Copy the package and the tests to where Apache may read them.

    As root it becomes another user, whom the directories of the checkout may not admit.
    The package is taken from where it is installed: the tests of a wheel have no source beside
    them, and the other Python has its own packages.
    """
    package = importlib.util.find_spec("django_connmgr")
    assert package is not None
    assert package.origin is not None
    skipped = shutil.ignore_patterns("__pycache__")
    for source in (Path(package.origin).parent, ROOT / "tests"):
        shutil.copytree(source, to / source.name, ignore=skipped)


def main(port: str, directory: str) -> None:
    # Apache's user has to get at the code and the sockets in there.
    Path(directory).chmod(0o755)
    code = Path(directory) / "code"
    _copy_code(code)
    user = "User www-data\nGroup www-data" if os.geteuid() == 0 else ""
    file = Path(directory) / "httpd.conf"
    file.write_text(
        CONFIGURATION.format(
            directory=directory, port=port, modules=MODULES, home=HOME, code=code, user=user
        )
    )
    os.execv(PROGRAM, [str(PROGRAM), "-f", str(file), "-D", "FOREGROUND"])


if __name__ == "__main__":
    main(*sys.argv[1:])
