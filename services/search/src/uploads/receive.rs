//! Receives the bytes of a picture: counted, hashed and stored while they arrive. What is no picture
//! is refused after its first bytes.

use lookalike_chassis::settings::size::format_size;
use lookalike_proto::LibraryName;

use super::permission::find_present_root;
use super::staging::{BUFFER_BYTES, StagedFile, StagingFile};
use crate::core::service::SearchService;
use crate::core::upload_budget::UploadPermit;
use crate::problem::{Code, Problem};

/// The first bytes, from which the format is detected.
const HEAD_BYTES: usize = 64 << 10;

/// Memory of one upload: the buffer of the file, the first bytes, and a piece that arrived.
const MEMORY_BYTES: u64 = (BUFFER_BYTES + 2 * HEAD_BYTES) as u64;

/// A picture that is complete and on the disk, without a name.
#[derive(Debug)]
pub(crate) struct ReceivedUpload {
    pub(super) staged: StagedFile,
    pub(super) format: &'static str,
}

/// A picture that is being received.
pub(crate) struct UploadReceiver {
    staging: StagingFile,
    head: Vec<u8>,
    format: Option<&'static str>,
    bytes: u64,
    max_bytes: u64,
    _permit: UploadPermit,
}

/// Describes the folder of a library in problems.
pub(super) fn describe_folder(library: &LibraryName) -> String {
    format!("the folder of library {library}")
}

pub(crate) fn picture_too_large(max_bytes: u64) -> Problem {
    let detail = format!(
        "the picture is larger than {} (uploads.max_bytes): raise this setting, or copy the file to \
         the folder of the library",
        format_size(max_bytes)
    );
    Problem::new(Code::UploadTooLarge, detail)
}

impl UploadReceiver {
    pub(crate) async fn open(
        service: &SearchService,
        library: &LibraryName,
    ) -> Result<Self, Problem> {
        let (root, disk) = find_present_root(service, library).await?;
        let mut permit = service.upload_budget.empty_permit();
        permit.grow_to(MEMORY_BYTES)?;
        let staging = StagingFile::create(root, disk.clone(), describe_folder(library));
        Ok(Self {
            staging: staging.await?,
            head: Vec::new(),
            format: None,
            bytes: 0,
            max_bytes: service.upload_settings.max_bytes,
            _permit: permit,
        })
    }

    pub(crate) async fn receive(&mut self, chunk: &[u8]) -> Result<(), Problem> {
        self.bytes += chunk.len() as u64;
        if self.bytes > self.max_bytes {
            return Err(picture_too_large(self.max_bytes));
        }
        if self.format.is_none() {
            let missing = HEAD_BYTES - self.head.len();
            self.head
                .extend_from_slice(&chunk[..chunk.len().min(missing)]);
            if self.head.len() >= HEAD_BYTES {
                self.detect_format()?;
            }
        }
        self.staging.write(chunk).await
    }

    fn detect_format(&mut self) -> Result<&'static str, Problem> {
        let format = lookalike_vision::detect_format(&self.head)?;
        self.format = Some(format);
        self.head = Vec::new();
        Ok(format)
    }

    /// Ends the upload after its last byte.
    pub(crate) async fn finish(mut self) -> Result<ReceivedUpload, Problem> {
        let format = match self.format {
            Some(format) => format,
            None => self.detect_format()?,
        };
        let staged = self.staging.finish().await?;
        Ok(ReceivedUpload { staged, format })
    }
}
