//! A disk that is said to be low, and receivers that pretend.

use std::collections::HashMap;
use std::sync::Mutex;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use landfall_stages::docker::DockerHandle;
use landfall_stages::executor::{FlaskStages, FlaskStagesConfig};
use landfall_stages::secrets::Secrets;
use landfall_store::MemoryStore;
use tempfile::TempDir;

use super::*;

const MIB: u64 = 1 << 20;

/// A receiver that answers with a status, and notes the key and the body of what it hears.
#[derive(Clone, Default)]
struct Receiver(Arc<Mutex<Heard>>);

/// The status that is answered, and the key and the body of each notice.
type Heard = (u16, Vec<(String, String)>);

impl Receiver {
    async fn start(&self, status: u16) -> String {
        self.answers(status);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let router = Router::new().fallback(heard).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        url
    }

    fn answers(&self, status: u16) {
        self.0.lock().unwrap().0 = status;
    }

    fn keys(&self) -> Vec<String> {
        self.0.lock().unwrap().1.iter().map(|(key, _)| key.clone()).collect()
    }
}

async fn heard(State(receiver): State<Receiver>, headers: HeaderMap, body: String) -> StatusCode {
    let key = headers["idempotency-key"].to_str().unwrap().to_owned();
    let mut receiver = receiver.0.lock().unwrap();
    receiver.1.push((key, body));
    StatusCode::from_u16(receiver.0).unwrap()
}

struct World {
    data: TempDir,
    store: Arc<MemoryStore>,
    secrets: HashMap<String, String>,
}

impl World {
    fn new(secrets: &[(&str, &str)]) -> Self {
        let secrets = secrets.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { data: tempfile::tempdir().unwrap(), store: Arc::new(MemoryStore::default()), secrets }
    }

    /// Returns what a server that starts has.
    fn watch(&self, channels: &[&str]) -> DiskWatch {
        let stages = FlaskStages::new(FlaskStagesConfig {
            data: self.data.path().to_owned(),
            secrets: Secrets::new(self.secrets.clone().into_iter(), None).unwrap(),
            proxy_socket: self.data.path().join("none.sock"),
            docker: Some(DockerHandle::connect(Some("unix:///nowhere/docker.sock")).unwrap()),
        })
        .unwrap();
        DiskWatch {
            store: Arc::clone(&self.store) as _,
            notifier: stages.notifier(),
            channels: channels.iter().map(|channel| (*channel).to_owned()).collect(),
            data: self.data.path().to_owned(),
            server: "build-1".into(),
        }
    }

    /// Lets a server start, look once, and end.
    async fn one_look(&self, channels: &[&str], found: Found) {
        let mut alarm = read(self.data.path()).unwrap();
        self.watch(channels).heed(&mut alarm, found).await;
    }
}

fn low() -> Found {
    Found::Low(Low { place: "/data".into(), free_bytes: 50 * MIB, needed_bytes: 100 * MIB })
}

#[tokio::test]
async fn ops_are_told_once_that_the_disk_is_low_however_often_the_server_starts() {
    let receiver = Receiver::default();
    let world = World::new(&[("OPS", &receiver.start(200).await)]);
    for _ in 0..3 {
        world.one_look(&["slack:OPS"], low()).await;
        world.one_look(&["slack:OPS"], Found::Free(110 * MIB)).await;
    }
    let key = format!("{}/disk_low/1/ops/slack:OPS", world.store.log_id());
    assert_eq!(receiver.keys(), [key]);
    let body = receiver.0.lock().unwrap().1[0].1.clone();
    assert!(body.contains("the disk is low") && body.contains("50 MiB are free"), "{body}");
}

#[tokio::test]
async fn a_disk_that_had_room_in_between_is_told_of_again() {
    let receiver = Receiver::default();
    let world = World::new(&[("OPS", &receiver.start(200).await)]);
    world.one_look(&["slack:OPS"], low()).await;
    world.one_look(&["slack:OPS"], Found::Free(125 * MIB)).await;
    world.one_look(&["slack:OPS"], low()).await;
    let log = world.store.log_id();
    let expected = [format!("{log}/disk_low/1/ops/slack:OPS"), format!("{log}/disk_low/2/ops/slack:OPS")];
    assert_eq!(receiver.keys(), expected);
}

#[tokio::test]
async fn a_receiver_that_gives_no_answer_is_told_at_the_next_look_and_one_that_says_no_is_not() {
    let (down, wrong) = (Receiver::default(), Receiver::default());
    let world = World::new(&[("DOWN", &down.start(503).await), ("WRONG", &wrong.start(404).await)]);
    let channels = ["slack:DOWN", "discord:WRONG", "slack:NOT_SET"];
    world.one_look(&channels, low()).await;
    world.one_look(&channels, low()).await;
    down.answers(200);
    world.one_look(&channels, low()).await;
    world.one_look(&channels, low()).await;
    assert_eq!((down.keys().len(), wrong.keys().len()), (3, 1));
    // All tries are one notice.
    assert_eq!(down.keys().iter().collect::<BTreeSet<_>>().len(), 1);
}

#[tokio::test]
async fn a_watch_ends_with_its_server() {
    let world = World::new(&[]);
    let stop = CancellationToken::new();
    let watching = tokio::spawn(world.watch(&["slack:OPS"]).watch(stop.clone()));
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(20), watching).await.expect("it ends").unwrap();
}
