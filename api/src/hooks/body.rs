//! The bodies of deliveries: whole, as they came, and no more of them in memory than there is room for.
//!
//! Anybody may send one, since only a whole body shows who sent it.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::ApiError;

/// GitHub sends up to 25 MB. A push of its 2,048 commits with a dozen paths each has 3 MB; what is larger is found by
/// looking at the repository, and is no reason to let strangers fill the memory.
const BODY_BYTES_MAX: usize = 5 * 1024 * 1024;
/// All bodies that are coming in, together.
const ROOM_BYTES: usize = 64 * 1024 * 1024;
/// A forge sends from memory, over a good line.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// The unit in which room is given.
const KIB: usize = 1024;

/// The room for bodies.
#[derive(Debug)]
pub(super) struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(ROOM_BYTES / KIB)))
    }
}

/// A body, and its room.
pub(super) struct Whole {
    bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

impl std::ops::Deref for Whole {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Room {
    /// Reads a body to its end.
    pub(super) async fn read(&self, headers: &HeaderMap, body: Body) -> Result<Whole, ApiError> {
        let declared =
            headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let length: usize = declared.unwrap_or(BODY_BYTES_MAX);
        if length > BODY_BYTES_MAX {
            return Err(too_large());
        }
        let reading = async {
            let kib = u32::try_from(length / KIB + 1).unwrap_or(u32::MAX);
            // The semaphore is never closed.
            let room = Arc::clone(&self.0).acquire_many_owned(kib).await;
            let room = room.map_err(|_| ApiError::Unavailable("the server is stopping".into()))?;
            let whole = Limited::new(body, BODY_BYTES_MAX).collect().await;
            let bytes = whole.map_err(|error| match error.is::<LengthLimitError>() {
                true => too_large(),
                false => ApiError::BadRequest("the body did not arrive whole".into()),
            })?;
            Ok(Whole { bytes: bytes.to_bytes(), _room: room })
        };
        tokio::time::timeout(BODY_TIMEOUT, reading).await.unwrap_or_else(|_| {
            let seconds = BODY_TIMEOUT.as_secs();
            Err(ApiError::Unavailable(format!(
                "the delivery did not arrive within {seconds} s; deliver it again"
            )))
        })
    }
}

fn too_large() -> ApiError {
    ApiError::TooLarge(format!(
        "the delivery is longer than {BODY_BYTES_MAX} bytes; what was pushed is found by looking at the repository"
    ))
}
