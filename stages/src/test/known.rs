//! What is known of the services that tests use most: what makes them start, and how tests find them.
//!
//! Pure. The passwords here are no secrets: each service lives for one run, on a network that nobody else is on.

use std::collections::BTreeMap;

use reqwest::Url;

/// What is known of one service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// Where it listens.
    pub(super) port: u16,
    /// Variables of the service itself.
    pub(super) own: BTreeMap<String, String>,
    /// Variables by which the tests find it.
    pub(super) tests: BTreeMap<String, String>,
}

/// Who may use a database.
struct Login {
    user: String,
    password: String,
    database: String,
}

/// Returns what is known of a service, told by the last part of its image's name.
///
/// `env` is what the settings say: a login that is written there, alone or within a URL that leads to this service, is
/// the service's too.
pub(super) fn of(name: &str, image: &str, env: &BTreeMap<String, String>) -> Option<Known> {
    let known = match kind(image) {
        "postgres" | "postgis" | "pgvector" | "timescaledb" => postgres(name, env),
        "mysql" | "mariadb" => mysql(name, env),
        "redis" | "valkey" | "keydb" => redis(name),
        "mongo" | "mongodb" => mongo(name, env),
        "rabbitmq" => rabbitmq(name, env),
        "memcached" => memcached(name),
        "elasticsearch" => elasticsearch(name),
        _ => return None,
    };
    Some(known)
}

/// Returns `postgres` of `registry:5000/library/postgres:16@sha256:…`.
fn kind(image: &str) -> &str {
    let name = image.split('@').next().unwrap_or_default();
    let last = name.rsplit('/').next().unwrap_or_default();
    last.split(':').next().unwrap_or_default()
}

fn postgres(name: &str, env: &BTreeMap<String, String>) -> Known {
    let login = login(
        name,
        env,
        ["POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_DB"],
        ["postgres", "postgres", "test"],
    );
    let Login { user, password, database } = &login;
    let url = format!("postgresql://{user}:{password}@{name}:5432/{database}");
    let own = [("POSTGRES_USER", user), ("POSTGRES_PASSWORD", password), ("POSTGRES_DB", database)];
    let mut tests = variables([
        ("DATABASE_URL", url.as_str()),
        ("TEST_DATABASE_URL", &url),
        ("SQLALCHEMY_DATABASE_URI", &url),
        ("PGHOST", name),
        ("PGPORT", "5432"),
        ("PGUSER", user),
        ("PGPASSWORD", password),
        ("PGDATABASE", database),
        ("POSTGRES_HOST", name),
        ("POSTGRES_PORT", "5432"),
    ]);
    let own = variables(own.map(|(name, value)| (name, value.as_str())));
    tests.extend(own.clone());
    Known { port: 5432, own, tests }
}

fn mysql(name: &str, env: &BTreeMap<String, String>) -> Known {
    let login =
        login(name, env, ["MYSQL_USER", "MYSQL_PASSWORD", "MYSQL_DATABASE"], ["root", "root", "test"]);
    let Login { user, password, database } = &login;
    let url = format!("mysql://{user}:{password}@{name}:3306/{database}");
    let of_root = env.get("MYSQL_ROOT_PASSWORD").unwrap_or(password);
    let mut own = variables([("MYSQL_ROOT_PASSWORD", of_root.as_str()), ("MYSQL_DATABASE", database)]);
    // The image refuses to make the user that is there anyway.
    if user != "root" {
        own.extend(variables([("MYSQL_USER", user.as_str()), ("MYSQL_PASSWORD", password)]));
    }
    let tests = variables([
        ("DATABASE_URL", url.as_str()),
        ("TEST_DATABASE_URL", &url),
        ("SQLALCHEMY_DATABASE_URI", &url),
        ("MYSQL_HOST", name),
        ("MYSQL_PORT", "3306"),
        ("MYSQL_USER", user),
        ("MYSQL_PASSWORD", password),
        ("MYSQL_DATABASE", database),
    ]);
    Known { port: 3306, own, tests }
}

fn redis(name: &str) -> Known {
    let url = format!("redis://{name}:6379/0");
    let tests = variables([("REDIS_URL", url.as_str()), ("REDIS_HOST", name), ("REDIS_PORT", "6379")]);
    Known { port: 6379, tests, ..Known::default() }
}

fn mongo(name: &str, env: &BTreeMap<String, String>) -> Known {
    const OWN: [&str; 3] =
        ["MONGO_INITDB_ROOT_USERNAME", "MONGO_INITDB_ROOT_PASSWORD", "MONGO_INITDB_DATABASE"];
    let own = env.iter().filter(|(name, _)| OWN.contains(&name.as_str()));
    let own: BTreeMap<String, String> = own.map(|(name, value)| (name.clone(), value.clone())).collect();
    let url = match (own.get(OWN[0]), own.get(OWN[1])) {
        (Some(user), Some(password)) => {
            format!("mongodb://{user}:{password}@{name}:27017/test?authSource=admin")
        }
        _ => format!("mongodb://{name}:27017/test"),
    };
    let tests = variables([
        ("MONGO_URL", url.as_str()),
        ("MONGO_URI", &url),
        ("MONGODB_URI", &url),
        ("MONGODB_URL", &url),
        ("MONGO_HOST", name),
        ("MONGO_PORT", "27017"),
    ]);
    Known { port: 27_017, own, tests }
}

fn rabbitmq(name: &str, env: &BTreeMap<String, String>) -> Known {
    const OWN: [&str; 3] = ["RABBITMQ_DEFAULT_USER", "RABBITMQ_DEFAULT_PASS", "RABBITMQ_DEFAULT_VHOST"];
    let Login { user, password, database } = login(name, env, OWN, ["guest", "guest", "/"]);
    // The virtual host `/` is written as an empty name behind the slash that begins the path.
    let path = if database == "/" { "/" } else { database.as_str() };
    let url = format!("amqp://{user}:{password}@{name}:5672/{path}");
    let own = variables([(OWN[0], user.as_str()), (OWN[1], &password), (OWN[2], &database)]);
    let tests = variables([
        ("RABBITMQ_URL", url.as_str()),
        ("AMQP_URL", &url),
        ("CELERY_BROKER_URL", &url),
        ("RABBITMQ_HOST", name),
        ("RABBITMQ_PORT", "5672"),
    ]);
    Known { port: 5672, own, tests }
}

fn memcached(name: &str) -> Known {
    let server = format!("{name}:11211");
    let tests = variables([
        ("MEMCACHED_SERVERS", server.as_str()),
        ("MEMCACHED_HOST", name),
        ("MEMCACHED_PORT", "11211"),
    ]);
    Known { port: 11_211, tests, ..Known::default() }
}

fn elasticsearch(name: &str) -> Known {
    // Without these it looks for others, and speaks to nobody without a certificate.
    let own = variables([
        ("discovery.type", "single-node"),
        ("xpack.security.enabled", "false"),
        ("ES_JAVA_OPTS", "-Xms512m -Xmx512m"),
    ]);
    let url = format!("http://{name}:9200");
    Known { port: 9200, own, tests: variables([("ELASTICSEARCH_URL", url.as_str())]) }
}

/// Returns the login that the settings write down for this service, or the usual one.
fn login(name: &str, env: &BTreeMap<String, String>, names: [&str; 3], usual: [&str; 3]) -> Login {
    let within = env.values().find_map(|value| in_url(name, value));
    let [user, password, database] = std::array::from_fn(|nth| {
        let written = env.get(names[nth]).filter(|value| !value.is_empty()).cloned();
        let within = within.as_ref().and_then(|parts| parts[nth].clone());
        written.or(within).unwrap_or_else(|| usual[nth].to_owned())
    });
    Login { user, password, database }
}

/// Returns user, password and database of a URL that leads to this service.
fn in_url(name: &str, value: &str) -> Option<[Option<String>; 3]> {
    let url = Url::parse(value).ok().filter(|url| url.host_str() == Some(name))?;
    // What is escaped there would have to be escaped again elsewhere; nobody needs that in a password of tests.
    let plain = |part: &str| (!part.is_empty() && !part.contains('%')).then(|| part.to_owned());
    let database = url.path().trim_start_matches('/');
    Some([plain(url.username()), url.password().and_then(plain), plain(database)])
}

fn variables<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_service_is_known_by_the_last_part_of_its_images_name() {
        for image in
            ["postgres", "postgres:16", "registry.test:5000/a/postgres:16-alpine", "x/postgres@sha256:0f"]
        {
            assert_eq!(of("db", image, &env(&[])).map(|known| known.port), Some(5432), "{image}");
        }
        for image in ["postgres-exporter", "localhost:5432/app", "postgres/tools"] {
            assert_eq!(of("db", image, &env(&[])), None, "{image}");
        }
    }

    #[test]
    fn each_service_is_found_where_apps_look_for_it() {
        for (image, variable, url) in [
            ("postgres:16", "DATABASE_URL", "postgresql://postgres:postgres@it:5432/test"),
            ("mariadb:11", "DATABASE_URL", "mysql://root:root@it:3306/test"),
            ("redis", "REDIS_URL", "redis://it:6379/0"),
            ("mongo:7", "MONGO_URI", "mongodb://it:27017/test"),
            ("rabbitmq:3-management", "CELERY_BROKER_URL", "amqp://guest:guest@it:5672//"),
            ("memcached", "MEMCACHED_SERVERS", "it:11211"),
            ("elasticsearch:8.15.0", "ELASTICSEARCH_URL", "http://it:9200"),
        ] {
            let known = of("it", image, &env(&[])).unwrap();
            assert_eq!(known.tests.get(variable).map(String::as_str), Some(url), "{image}");
        }
    }

    #[test]
    fn a_login_that_the_settings_write_down_is_the_services_too() {
        let parts = env(&[("POSTGRES_USER", "todo"), ("POSTGRES_PASSWORD", "s"), ("POSTGRES_DB", "tasks")]);
        let known = of("db", "postgres:16", &parts).unwrap();
        assert_eq!(known.tests["DATABASE_URL"], "postgresql://todo:s@db:5432/tasks");
        assert_eq!(known.own, parts);

        let url = env(&[("DATABASE_URL", "postgresql+psycopg://todo:s@db/tasks")]);
        assert_eq!(of("db", "postgres:16", &url).unwrap().own, parts);
        // One that leads elsewhere says nothing of this service.
        assert_eq!(of("other", "postgres:16", &url).unwrap().own["POSTGRES_USER"], "postgres");

        let shop = env(&[("DATABASE_URL", "mysql+pymysql://shop:s@db:3306/shop")]);
        let own = env(&[
            ("MYSQL_DATABASE", "shop"),
            ("MYSQL_PASSWORD", "s"),
            ("MYSQL_ROOT_PASSWORD", "s"),
            ("MYSQL_USER", "shop"),
        ]);
        assert_eq!(of("db", "mysql:8", &shop).unwrap().own, own);
    }
}
