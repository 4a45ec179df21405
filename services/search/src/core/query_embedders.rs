//! The embedders that compute the vectors of queries. They see no library.

use lookalike_bus::{Bus, EmbeddedVector, Error};
use lookalike_proto::QueryText;

/// Requests vectors; each function does what the one of [`Bus`] with the same name does.
pub(crate) struct QueryEmbedders<'a>(&'a Bus);

impl<'a> QueryEmbedders<'a> {
    pub(crate) fn new(bus: &'a Bus) -> Self {
        Self(bus)
    }

    pub(crate) fn can_request_vectors(&self, subject: &str) -> bool {
        self.0.can_request_vectors(subject)
    }

    pub(crate) async fn check_embedder(&self, subject: &str) -> Result<(), Error> {
        self.0.check_embedder(subject).await
    }

    pub(crate) async fn embed_pixels(
        &self,
        subject: &str,
        pixels: Vec<u8>,
    ) -> Result<EmbeddedVector, Error> {
        self.0.embed_pixels(subject, pixels).await
    }

    pub(crate) async fn embed_text(
        &self,
        subject: &str,
        text: QueryText,
    ) -> Result<EmbeddedVector, Error> {
        self.0.embed_text(subject, text).await
    }

    pub(crate) fn unresponsive_embedders(&self, subject: &str) -> Vec<String> {
        self.0.unresponsive_embedders(subject)
    }
}
