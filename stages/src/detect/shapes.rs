//! Shapes of public apps, and what is guessed of each. Written as imitations: the files that matter, no more.

use std::collections::BTreeSet;

use super::*;
use crate::config;

fn laid_out(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    dir
}

/// Returns what is guessed, a line each, without what every app has.
fn guessed(files: &[(&str, &str)]) -> String {
    let dir = laid_out(files);
    let (settings, keys) = (Settings::default(), BTreeSet::new());
    let found = find(&Source::of(dir.path()), &Written { settings: &settings, keys: &keys });
    let usual = [("proxy.healthcheck.path", "/"), ("proxy.healthcheck.any_answer", "true")];
    let lines = found.iter().map(Finding::guess).filter(|guess| !usual.contains(&(&guess.key, &guess.value)));
    let server = "gunicorn --bind 0.0.0.0:$PORT --threads 8 --worker-tmp-dir /dev/shm --access-logfile -";
    lines.map(|guess| format!("{} = {}\n", guess.key, guess.value.replace(server, "GUNICORN"))).collect()
}

#[track_caller]
fn check(files: &[(&str, &str)], expected: &str) {
    assert_eq!(guessed(files), expected);
    same_when_written_down(files);
}

/// What `landfall init` writes means the same as its lack.
#[track_caller]
fn same_when_written_down(files: &[(&str, &str)]) {
    let dir = laid_out(files);
    let guessed = config::read_and_guess(dir.path(), "shop").unwrap();
    let text = config::initial(dir.path(), "shop").config;
    let written =
        config::parse(&text, config::CONFIG_FILE, "shop").unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(written, guessed.settings, "{text}");
    std::fs::write(dir.path().join(config::CONFIG_FILE), text).unwrap();
    let both = config::read_and_guess(dir.path(), "shop").unwrap();
    assert_eq!(both.settings, guessed.settings);
    assert!(both.guesses.iter().all(|guess| !guess.key.contains('.')), "{:?}", both.guesses);
}

const APP: &str =
    "from flask import Flask\napp = Flask(__name__)\n\n@app.route('/')\ndef index():\n    return 'hi'\n";
const FACTORY: &str = "from flask import Flask\n\ndef create_app(test_config=None):\n    app = Flask(__name__)\n    return app\n";
const TEST: &str = "def test_it():\n    assert True\n";

#[test]
fn one_file_and_its_requirements() {
    check(
        &[("app.py", APP), ("requirements.txt", "Flask==1.1.2\n")],
        "dependencies = requirements.txt\nconstraints = werkzeug<2.0 jinja2<3.0 itsdangerous<2.0 click<8.0 markupsafe<2.1\n\
         test.allow_none = true\nweb.command = GUNICORN app:app\n",
    );
}

#[test]
fn one_file_and_nothing_else() {
    check(
        &[(
            "main.py",
            &APP.replace("import Flask", "import Flask\nimport requests, os\nfrom flask_cors import CORS"),
        )],
        "dependencies = flask, flask-cors, requests\ntest.allow_none = true\nweb.command = GUNICORN main:app\n",
    );
}

#[test]
fn the_tutorials_flaskr() {
    let db = "import click\n@click.command('init-db')\ndef init_db_command():\n    init_db()\nx = 'flaskr.sqlite'\n";
    let pyproject = "[project]\nname = 'flaskr'\nversion = '1'\ndependencies = ['flask']\n[project.optional-dependencies]\n\
                     test = ['pytest']\n[build-system]\nrequires = ['flit_core<4']\nbuild-backend = 'flit_core.buildapi'\n\
                     [tool.pytest.ini_options]\ntestpaths = ['tests']\n";
    check(
        &[
            ("flaskr/__init__.py", FACTORY),
            ("flaskr/db.py", db),
            ("pyproject.toml", pyproject),
            ("tests/test_db.py", TEST),
        ],
        "dependencies = pyproject.toml\ntest.command = pytest --junitxml=report.xml\n\
         web.command = { [ -e /tmp/prepared ] || { FLASK_APP=flaskr flask init-db && : >/tmp/prepared; }; }; exec GUNICORN 'flaskr:create_app()'\n",
    );
}

#[test]
fn a_database_that_may_be_elsewhere_is_neither_emptied_nor_filled_by_a_guess() {
    let db = "import click\n@click.command('init-db')\ndef init_db_command():\n    db.drop_all()\nx = 'flaskr.sqlite'\n";
    let web = |config: &str, more: &str| {
        let db = format!("{db}{more}");
        let dir =
            laid_out(&[("flaskr/__init__.py", FACTORY), ("flaskr/db.py", &db), ("landfall.toml", config)]);
        config::read_and_guess(dir.path(), "shop").unwrap().settings.web.command.unwrap()
    };
    assert!(web("", "").contains("init-db"));
    assert!(web("[env]\nsecret = [\"SECRET_KEY\"]\n", "").contains("init-db"));
    for config in [
        "[env]\nsecret = [\"DATABASE_URL\"]\n",
        "[env]\nclear = { DB_HOST = \"db.example.com\" }\n",
        "[env]\nfiles = { \"/run/secrets/app.ini\" = \"APP_INI\" }\n",
        "[env.production]\nsecret = [\"PGPASSWORD\"]\n",
    ] {
        assert!(!web(config, "").contains("init-db"), "{config}");
    }
    assert!(!web("", "y = 'mysql+pymysql://shop:word@db.example.com/shop'\n").contains("init-db"));
}

#[test]
fn services_are_reached_by_a_name_and_on_a_port_that_they_have() {
    let workflow = "jobs:\n  test:\n    services:\n      postgres_db:\n        image: postgres:16\n        ports: ['5433:5432']\n\
                    \x20   env:\n      DATABASE_URL: postgresql://u:p@localhost:5433/test\n      OTHER_URL: postgresql://postgres_db/x\n\
                    \x20   steps:\n      - run: pytest\n";
    let files = [("app.py", APP), ("test_app.py", TEST), (".github/workflows/ci.yml", workflow)];
    let dir = laid_out(&files);
    let test = config::read_and_guess(dir.path(), "shop").unwrap().settings.test;
    assert_eq!(test.services["postgres-db"], "postgres:16");
    assert_eq!(test.env["DATABASE_URL"], "postgresql://u:p@postgres-db:5432/test");
    assert_eq!(test.env["OTHER_URL"], "postgresql://postgres-db/x");
    std::fs::write(dir.path().join("landfall.toml"), "[test]\nhost = true\n").unwrap();
    let on_the_host = config::read_and_guess(dir.path(), "shop").unwrap().settings.test;
    assert!(on_the_host.services.is_empty() && on_the_host.env.is_empty(), "{on_the_host:?}");
}

#[test]
fn microblog_with_its_factory_and_migrations() {
    let config =
        "class Config:\n    SQLALCHEMY_DATABASE_URI = os.environ.get('DATABASE_URL') or 'sqlite:///app.db'\n";
    check(
        &[
            ("microblog.py", "from app import create_app, db\n\napp = create_app()\n"),
            (
                "app/__init__.py",
                "from flask import Flask\ndef create_app(config_class=Config):\n    return Flask(__name__)\n",
            ),
            ("config.py", config),
            (
                "tests.py",
                "import unittest\nclass UserModelCase(unittest.TestCase):\n    def test_x(self):\n        pass\n",
            ),
            ("migrations/env.py", ""),
            (".flaskenv", "FLASK_APP=microblog.py\nFLASK_DEBUG=1\n"),
            ("requirements.txt", "flask==3.0.0\nflask-migrate==4.0.5\ngunicorn==21.2.0\n"),
        ],
        "dependencies = requirements.txt\ntest.command = pytest -o python_files=tests.py --junitxml=report.xml\n\
         web.command = FLASK_APP=microblog flask db upgrade && exec GUNICORN microblog:app\n",
    );
}

#[test]
fn flasky_with_a_config_that_its_factory_has_to_be_told() {
    check(
        &[
            (
                "flasky.py",
                "import os\nfrom app import create_app\napp = create_app(os.getenv('FLASK_CONFIG') or 'default')\n",
            ),
            (
                "app/__init__.py",
                "from flask import Flask\ndef create_app(config_name):\n    app = Flask(__name__)\n    return app\n",
            ),
            (
                "config.py",
                "config = {\n    'development': Dev,\n    'production': Prod,\n    'default': Dev,\n}\n",
            ),
            ("requirements/common.txt", "Flask==0.12.2\n"),
            ("requirements/dev.txt", "-r common.txt\nfaker\n"),
            ("requirements/prod.txt", "-r common.txt\n"),
            ("Procfile", "web: gunicorn flasky:app\n"),
            (
                "tests/test_basics.py",
                "import unittest\nclass A(unittest.TestCase):\n    def test_a(self): pass\n",
            ),
        ],
        "dependencies = requirements/prod.txt, requirements/dev.txt\n\
         constraints = werkzeug<1.0 jinja2<3.0 itsdangerous<2.0 click<8.0 markupsafe<2.1\n\
         test.command = pytest --junitxml=report.xml\nweb.command = gunicorn flasky:app\n",
    );
    // Without the file that tells it: what its dictionary has.
    let files = [
        (
            "app/__init__.py",
            "from flask import Flask\ndef create_app(config_name):\n    app = Flask(__name__)\n    return app\n",
        ),
        ("config.py", "config = {'development': Dev, 'production': Prod}\n"),
        ("requirements.txt", "flask\n"),
    ];
    assert!(
        guessed(&files).contains("GUNICORN 'app:create_app('\\''production'\\'')'"),
        "{}",
        guessed(&files)
    );
}

#[test]
fn files_that_say_where_the_app_is() {
    let entry = |files: &[(&str, &str)]| {
        let all = [files, &[("requirements.txt", "flask\n")]].concat();
        let found = guessed(&all);
        found
            .lines()
            .find_map(|line| Some(line.strip_prefix("web.command = ")?.to_owned()))
            .unwrap_or_default()
    };
    for (files, expected) in [
        (
            vec![
                ("run.py", "from app import app\nif __name__ == '__main__':\n    app.run()\n"),
                ("app/__init__.py", APP),
            ],
            "GUNICORN run:app",
        ),
        (
            vec![("app.py", "app = Flask(__name__)\napp.run(debug=True)\n")],
            "FLASK_RUN_FROM_CLI=true GUNICORN app:app",
        ),
        (
            vec![("src/shop/__init__.py", FACTORY), ("src/shop/views.py", "")],
            "GUNICORN --pythonpath src 'shop:create_app()'",
        ),
        (vec![("backend/app.py", APP)], "GUNICORN --chdir backend app:app"),
        (vec![("backend/app.py", &format!("from backend.db import x\n{APP}"))], "GUNICORN backend.app:app"),
        (
            vec![("hello.py", APP), ("wsgi.py", "from hello import app as application\n")],
            "GUNICORN wsgi:application",
        ),
        (
            vec![
                ("project/__init__.py", "app = Flask(__name__)\n"),
                ("manage.py", "from project import app\n"),
            ],
            "GUNICORN manage:app",
        ),
        (vec![("weird.py", "flask_thing = flask.Flask('x')\n")], "GUNICORN weird:flask_thing"),
        (vec![("dash_app.py", "app = Dash(__name__)\nserver = app.server\n")], "GUNICORN dash_app:server"),
        (vec![("x.py", APP), ("y.py", APP), (".flaskenv", "export FLASK_APP='y.py'\n")], "GUNICORN y:app"),
        (
            vec![
                (
                    "main.py",
                    "from site import create_app\napp = create_app()\nif __name__ == '__main__':\n    app.run()\n",
                ),
                ("site/__init__.py", FACTORY),
            ],
            "GUNICORN main:app",
        ),
        (
            vec![(
                "app.py",
                "from flask_socketio import SocketIO\napp = Flask(__name__)\nio = SocketIO(app)\n",
            )],
            "gunicorn --bind 0.0.0.0:$PORT --workers 1 --threads 100 --worker-tmp-dir /dev/shm --access-logfile - app:app",
        ),
        (
            vec![("app.py", APP), ("Procfile", "release: x\nweb: gunicorn app:app -b 127.0.0.1:9000\n")],
            "gunicorn app:app -b 0.0.0.0:9000",
        ),
        (vec![("app.py", APP), ("Procfile", "web: python app.py\n")], "GUNICORN app:app"),
        (
            vec![(
                "app.py",
                &format!("{APP}if __name__ == '__main__':\n    db.create_all()\n    app.run()\n"),
            )],
            "FLASK_RUN_FROM_CLI=true python app.py; exec GUNICORN app:app",
        ),
        (vec![("setup_only.py", "print()")], ""),
        (vec![("Dockerfile", "FROM python:3.12\nEXPOSE 5000\n"), ("app.py", APP)], ""),
    ] {
        assert_eq!(entry(&files), expected, "{files:?}");
        same_when_written_down(&files);
    }
}

#[test]
fn ports_are_where_the_app_says() {
    let port = |files: &[(&str, &str)]| {
        let found = guessed(files);
        found.lines().find_map(|line| line.strip_prefix("proxy.app_port = ")?.parse::<u16>().ok())
    };
    for (files, expected) in [
        (vec![("Dockerfile", "FROM x\nEXPOSE 80\nFROM y\nEXPOSE 5000/tcp\nCMD [\"./run\"]\n")], Some(5000)),
        (
            vec![(
                "Dockerfile",
                "FROM x\nEXPOSE 80\nCMD [\"gunicorn\", \"-b\", \"0.0.0.0:9001\", \"app:app\"]\n",
            )],
            Some(9001),
        ),
        (vec![("Dockerfile", "FROM x\nEXPOSE 5000\nCMD gunicorn --bind :$PORT app:app\n")], None),
        (vec![("Dockerfile", "FROM x\nENV PORT=8081\nCMD gunicorn --bind :$PORT app:app\n")], Some(8081)),
        (vec![("Dockerfile", "FROM x\nCMD [\"flask\", \"run\", \"--host=0.0.0.0\"]\n")], Some(5000)),
        (
            vec![
                ("Dockerfile", "FROM x\nCMD python app.py\n"),
                (
                    "app.py",
                    &format!("{APP}if __name__ == '__main__':\n    app.run(host='0.0.0.0', port=8123)\n"),
                ),
            ],
            Some(8123),
        ),
        (vec![("app.py", APP), ("gunicorn.conf.py", "bind = '0.0.0.0:5001'\nworkers = 3\n")], Some(5001)),
        (vec![("app.py", APP)], None),
    ] {
        assert_eq!(port(&files), expected, "{files:?}");
        same_when_written_down(&files);
    }
}

#[test]
fn tests_are_found_by_their_names_and_their_lack_is_said() {
    let command = |files: &[(&str, &str)]| {
        let found = guessed(files);
        found.lines().filter(|line| line.starts_with("test.")).collect::<Vec<_>>().join("|")
    };
    for (files, expected) in [
        (vec![("tests/test_a.py", TEST)], "test.command = pytest --junitxml=report.xml"),
        (vec![("test.py", TEST)], "test.command = pytest -o python_files=test.py --junitxml=report.xml"),
        (
            vec![("tests/unit.py", TEST), ("tests/test_a.py", TEST)],
            "test.command = pytest -o 'python_files=test_*.py *_test.py unit.py' --junitxml=report.xml",
        ),
        (
            vec![("backend/requirements.txt", "flask"), ("backend/test_a.py", TEST)],
            "test.command = cd backend && python -m pytest --junitxml=\"$OLDPWD/report.xml\"",
        ),
        // A folder that says there should be some stays red.
        (vec![("tests/__init__.py", "")], "test.command = pytest --junitxml=report.xml"),
        (vec![("app.py", APP)], "test.allow_none = true"),
    ] {
        assert_eq!(command(&files), expected, "{files:?}");
        same_when_written_down(&files);
    }
}

#[test]
fn what_is_written_is_never_guessed_over() {
    let dir = laid_out(&[
        ("app.py", APP),
        ("requirements.txt", "flask\npsycopg2\n"),
        (".python-version", "3.11\n"),
        (
            "landfall.toml",
            "[test]\ncommand = \"make test\"\n[web]\ncommand = \"./serve\"\n[proxy]\napp_port = 9\nhealthcheck.path = \"/x\"\n[build]\npackages = []\n",
        ),
    ]);
    let configured = config::read_and_guess(dir.path(), "shop").unwrap();
    let settings = &configured.settings;
    assert_eq!(
        (settings.test.command.as_str(), settings.web.command.as_deref()),
        ("make test", Some("./serve"))
    );
    assert_eq!((settings.proxy.app_port, settings.proxy.healthcheck.path.as_str()), (9, "/x"));
    assert!(
        !settings.proxy.healthcheck.any_answer
            && !settings.test.allow_none
            && settings.build.packages.is_empty()
    );
    assert_eq!(settings.test.image, "python:3.11-slim");
    let keys: Vec<&str> = configured.guesses.iter().map(|guess| guess.key.as_str()).collect();
    assert_eq!(keys, ["dependencies", "test.image", "build.image"]);
}

#[test]
fn a_database_that_is_given_is_migrated_by_the_release_command() {
    let files = [
        ("app.py", "app = Flask(__name__)\nurl = os.environ.get('DATABASE_URL', 'sqlite:///x.db')\n"),
        ("migrations/env.py", ""),
        ("requirements.txt", "flask\nflask-migrate\n"),
        ("landfall.toml", "[env]\nsecret = [\"DATABASE_URL\"]\n"),
    ];
    let dir = laid_out(&files);
    let settings = config::read_and_guess(dir.path(), "shop").unwrap().settings;
    assert_eq!(
        settings.release.map(|release| release.command).as_deref(),
        Some("FLASK_APP=app flask db upgrade")
    );
    assert!(settings.web.command.is_some_and(|command| command.starts_with("gunicorn ")));
}

#[test]
fn services_of_a_workflow_are_those_of_the_tests() {
    let workflow = "jobs:\n  test:\n    services:\n      db:\n        image: postgres:16  # why\n        env:\n          POSTGRES_PASSWORD: x\n      cache:\n        image: redis:7\n    env:\n      DATABASE_URL: postgresql://postgres:x@localhost:5432/test\n    steps:\n      - run: pytest\n";
    check(
        &[
            ("app.py", APP),
            (".github/workflows/ci.yml", workflow),
            ("test_a.py", TEST),
            ("requirements.txt", "flask"),
        ],
        "dependencies = requirements.txt\ntest.command = pytest --junitxml=report.xml\n\
         test.services = { cache = \"redis:7\", db = \"postgres:16\" }\n\
         test.env = { DATABASE_URL = \"postgresql://postgres:x@db:5432/test\" }\nweb.command = GUNICORN app:app\n",
    );
}

#[test]
fn odd_files_are_no_more_than_findings_that_are_not_made() {
    let dir = tempfile::tempdir().unwrap();
    let utf16: Vec<u8> = "\u{feff}flask==3.0.0\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    std::fs::write(dir.path().join("requirements.txt"), utf16).unwrap();
    std::fs::write(dir.path().join("app.py"), b"# caf\xe9\napp = Flask(__name__)\n").unwrap();
    std::fs::write(dir.path().join("big.py"), vec![b'('; 3 << 20]).unwrap();
    std::fs::write(dir.path().join("pyproject.toml"), b"\xff\xfe[").unwrap();
    std::fs::write(dir.path().join("Procfile"), b":::\nweb:\n").unwrap();
    std::os::unix::fs::symlink("/etc", dir.path().join("etc")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join("wsgi.py")).unwrap();
    let source = Source::of(dir.path());
    assert!(!source.has("wsgi.py") && !source.has_folder("etc"));
    assert_eq!(Manifest::of(&source).named.get("flask").map(String::as_str), Some("==3.0.0"));
    let configured = config::read_and_guess(dir.path(), "shop").unwrap();
    assert!(configured.settings.web.command.unwrap().ends_with(" app:app"));
}

#[test]
fn services_of_a_compose_file_run_where_the_tests_speak_of_them() {
    let compose = "services:\n  web:\n    build: .\n    environment:\n      - DATABASE_URL=postgresql://me:x@db/shop\n      - QUEUE=redis://cache:6379/0\n  db:\n    image: postgres:16\n  cache:\n    image: redis:7\n  mail:\n    image: mailhog/mailhog\n";
    let guessed_with = |test: &str| {
        guessed(&[
            ("app.py", APP),
            ("docker-compose.yml", compose),
            ("tests/test_a.py", test),
            ("requirements.txt", "flask"),
        ])
    };
    let both = guessed_with("import os\n\ndef test_it():\n    assert os.environ['DATABASE_URL']\n");
    assert!(both.contains("test.services = { db = \"postgres:16\" }\n"), "{both}");
    assert!(both.contains("test.env = { DATABASE_URL = \"postgresql://me:x@db/shop\" }\n"), "{both}");
    let none = guessed_with(TEST);
    assert!(!none.contains("services"), "{none}");
}

#[track_caller]
fn check_health(files: &[(&str, &str)], path: &str) {
    let dir = laid_out(files);
    let found = health::find(&Source::of(dir.path())).map(|(path, _)| path);
    assert_eq!(found.as_deref().unwrap_or("/"), path);
}

#[test]
fn a_health_route_of_a_blueprint_has_the_prefix_by_which_it_is_registered() {
    let views = "from flask import Blueprint\nviews = Blueprint('views', __name__)\n@views.get('/up')\ndef up():\n    return ''\n";
    let app = |registers: &str| format!("from flask import Flask\n{registers}\n");
    for (registers, path) in [
        ("from .views import views\napp = Flask(__name__)\napp.register_blueprint(views)", "/up"),
        (
            "from . import views\ndef make():\n    app = Flask('a')\n    app.register_blueprint(views.views)",
            "/up",
        ),
        ("from .views import views as v\napp = Flask('a')\napp.register_blueprint(v, url_prefix='/')", "/up"),
        ("from .views import views\napp = Flask('a')\napp.register_blueprint(views, url_prefix='/api')", "/"),
        ("from .views import views\napp = Flask('a')\napp.register_blueprint(views, url_prefix=PREFIX)", "/"),
        ("from .views import views\napi.register_blueprint(views)", "/"),
        ("from . import other\napp = Flask('a')\napp.register_blueprint(other.views)", "/"),
    ] {
        check_health(&[("shop/__init__.py", &app(registers)), ("shop/views.py", views)], path);
    }
    let api = "bp = Blueprint('api', __name__, url_prefix='/api')\n@bp.route('/health', methods=['GET'])\ndef health(): pass\n";
    let registers = app("from shop.api import bp\napp = Flask('a')\napp.register_blueprint(bp)");
    check_health(&[("shop/__init__.py", &registers), ("shop/api.py", api)], "/api/health");
    check_health(
        &[("app.py", "web = Flask(__name__)\n@web.route('/ping', methods=['POST'])\ndef p(): pass\n")],
        "/",
    );
    check_health(
        &[("app.py", "def f():\n    web = Flask(__name__)\n    @web.get('/ping')\n    def p(): pass\n")],
        "/ping",
    );
}

#[test]
fn a_function_of_any_name_that_returns_its_app_is_served() {
    let main = "from flask import Flask\n\ndef build(debug=False):\n    web = Flask(__name__)\n    return web\n\nif __name__ == '__main__':\n    build().run(host='0.0.0.0', port=int(os.environ['PORT']))\n";
    check(
        &[("main.py", main), ("requirements.txt", "flask")],
        "dependencies = requirements.txt\ntest.allow_none = true\nweb.command = GUNICORN 'main:build()'\n",
    );
    let told = main.replace("debug=False", "words");
    check(
        &[("main.py", &told.replace("build()", "build(W)")), ("requirements.txt", "flask")],
        "dependencies = requirements.txt\ntest.allow_none = true\nweb.command = python main.py\n",
    );
}

#[test]
fn a_project_of_poetry_without_a_lock_file_is_installed_by_pip() {
    let pyproject = "[tool.poetry]\nname = 'shop'\npackage-mode = false\n[tool.poetry.dependencies]\npython = '^3.10'\nflask = '^3.0'\n[tool.poetry.group.dev.dependencies]\npytest = '^8'\n";
    let dir = laid_out(&[("app.py", APP), ("pyproject.toml", pyproject)]);
    let needed = crate::deps::find(dir.path(), "pytest", "sha256:1").unwrap().unwrap();
    assert!(needed.install.contains("pip install 'flask>=3.0,<4' 'pytest>=8,<9'"), "{}", needed.install);
    let settings = config::read_and_guess(dir.path(), "shop").unwrap().settings;
    let dockerfile = crate::dockerfile::generate(dir.path(), &settings).unwrap();
    assert!(dockerfile.contains("pip install 'flask>=3.0,<4'\n"), "{dockerfile}");
}

#[test]
fn migrations_are_those_of_the_app_that_the_procfile_serves() {
    let found = guessed(&[
        ("Procfile", "web: gunicorn -w 2 flasky:app"),
        (
            "flasky.py",
            "from app import create_app\napp = create_app('default')\nmigrate = Migrate(app, db)\n",
        ),
        ("app/__init__.py", FACTORY),
        ("migrations/env.py", ""),
        ("migrations/versions/a.py", ""),
        ("requirements.txt", "flask\nflask-migrate\n"),
    ]);
    assert!(found.contains("FLASK_APP=flasky flask db upgrade"), "{found}");
}
