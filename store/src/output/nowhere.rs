//! The output of an attempt that began when the disk had no room for its file.

use std::fmt;
use std::io;

use landfall_engine::core::event::OutputRef;
use landfall_engine::ports::{BoxError, OutputWriter};

use super::writer::{ASK_AGAIN_BYTES, Dropped, Writer};
use crate::segment::tail::is_full;

/// Counts what is printed, until there is room for a file that says how much that was.
pub(super) struct Nowhere<C> {
    create: C,
    missing: Dropped,
    /// How many bytes were missing when room was last asked for.
    asked_at: u64,
    writer: Option<Writer>,
}

impl<C> fmt::Debug for Nowhere<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { create: _, missing, asked_at, writer } = self;
        let mut shown = f.debug_struct("Nowhere");
        shown.field("missing", missing).field("asked_at", asked_at).field("writer", writer).finish()
    }
}

impl<C: FnMut() -> io::Result<Writer>> Nowhere<C> {
    /// Asks for the file with `create`, now and then.
    pub(super) fn new(create: C) -> Self {
        Self { create, missing: Dropped::default(), asked_at: 0, writer: None }
    }

    /// Tries to create the file, and begins it with what is missing.
    fn try_to_begin(&mut self) -> io::Result<Option<&mut Writer>> {
        match (self.create)() {
            Ok(writer) => {
                writer.miss(self.missing);
                Ok(Some(self.writer.insert(writer)))
            }
            Err(error) if is_full(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl<C: FnMut() -> io::Result<Writer> + Send> OutputWriter for Nowhere<C> {
    fn line(&mut self, text: &str) -> Result<(), BoxError> {
        if let Some(writer) = &mut self.writer {
            return writer.line(text);
        }
        let bytes = text.len() as u64 + 1;
        if self.missing.bytes + bytes >= self.asked_at + ASK_AGAIN_BYTES {
            self.asked_at = self.missing.bytes + bytes;
            if let Some(writer) = self.try_to_begin()? {
                return writer.line(text);
            }
        }
        self.missing.count(1, bytes);
        Ok(())
    }

    fn finish(&mut self) -> Result<OutputRef, BoxError> {
        if self.writer.is_none() {
            self.try_to_begin()?;
        }
        match &mut self.writer {
            Some(writer) => writer.finish(),
            None => {
                Err("the disk was full when the attempt began, so nothing of what it printed was kept".into())
            }
        }
    }
}
