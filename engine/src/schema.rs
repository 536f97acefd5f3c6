//! The schemas that can't be derived: of what is stored as a text of its own.

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::core::notice::NoticeId;

impl PartialSchema for NoticeId {
    fn schema() -> RefOr<Schema> {
        let text = ObjectBuilder::new().schema_type(Type::String);
        text.description(Some("One notice through one channel: `occasion/audience/channel`.")).build().into()
    }
}

impl ToSchema for NoticeId {}
