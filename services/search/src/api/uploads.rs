//! Adds pictures to a library, shows what became of them, and moves pictures to the trash.

use poem::http::{StatusCode, header};
use poem::{IntoResponse, Response};
use poem_openapi::ApiResponse;
use poem_openapi::payload::Json;
use poem_openapi::registry::{MetaResponses, Registry};
use poem_openapi::types::Type as _;

use super::responses::{json_media, meta_response};
use super::schema::{RemovalBody, UploadResultBody, UploadStateBody};
use super::upload_stream::{StreamLimits, UploadStream};
use crate::core::libraries::library_names;
use crate::core::service::SearchService;
use crate::http::link_prefix;
use crate::metrics::{TRASHED_FILES, UPLOADS};
use crate::problem::{Code, Problem};
use crate::uploads::permission::find_upload_library;
use crate::uploads::receive::UploadReceiver;
use crate::uploads::remove;
use crate::uploads::state::{UploadState, UploadStatus, find_upload_status};
use crate::uploads::store::{StoredUpload, UploadTarget, store_upload};
use crate::uploads::target::{TargetFolder, TargetName};
use crate::uploads::upload_id::UploadId;

/// The parameters of an upload, as the client sent them.
pub(super) struct UploadParams {
    pub library: Option<String>,
    pub folder: Option<String>,
    pub name: Option<String>,
}

impl UploadParams {
    fn parse(&self, service: &SearchService) -> Result<UploadTarget, Problem> {
        let folder = self.folder.as_deref().map(TargetFolder::parse);
        let name = self.name.as_deref().map(TargetName::parse);
        Ok(UploadTarget {
            library: find_upload_library(service, self.library.as_deref())?,
            folder: folder.transpose()?,
            name: name.transpose()?,
        })
    }
}

/// Receives a picture and stores it in its library.
pub(super) async fn add_picture(
    service: &SearchService,
    params: &UploadParams,
    stream: UploadStream,
) -> Result<UploadAnswer, Problem> {
    let limits = StreamLimits {
        max_bytes: service.upload_settings.max_bytes,
        timeout: service.settings.upload_timeout,
    };
    let stored = match prepare_upload(service, params).await {
        Ok((target, receiver)) => receive_picture(service, target, receiver, stream, limits).await,
        Err(problem) => {
            stream.discard(limits).await;
            Err(problem)
        }
    };
    let result = match &stored {
        Ok(StoredUpload { is_new: true, .. }) => "stored",
        Ok(StoredUpload { is_new: false, .. }) => "present",
        Err(_) => "refused",
    };
    UPLOADS.with_label_values(&[result]).inc();
    let stored = stored?;
    let status = match stored.is_new {
        true => UploadStatus::landed(&stored.id),
        // The picture is safe, even if its state cannot be determined now.
        false => find_upload_status(service, &stored.id)
            .await
            .unwrap_or_else(|_| UploadStatus::landed(&stored.id)),
    };
    Ok(UploadAnswer {
        is_new: stored.is_new,
        body: to_upload_body(&stored.id, status, Some(stored.is_new)),
    })
}

async fn prepare_upload(
    service: &SearchService,
    params: &UploadParams,
) -> Result<(UploadTarget, UploadReceiver), Problem> {
    let target = params.parse(service)?;
    let receiver = UploadReceiver::open(service, &target.library).await?;
    Ok((target, receiver))
}

async fn receive_picture(
    service: &SearchService,
    mut target: UploadTarget,
    receiver: UploadReceiver,
    stream: UploadStream,
    limits: StreamLimits,
) -> Result<StoredUpload, Problem> {
    let (received, form_name) = stream.receive(receiver, limits).await?;
    target.name = target.name.or(form_name);
    store_upload(service, target, received).await
}

/// Returns the state of an upload.
pub(super) async fn describe_upload(
    service: &SearchService,
    id: &str,
) -> Result<UploadResultBody, Problem> {
    let names = library_names(service);
    let is_known = |upload: &UploadId| names.iter().any(|name| name == upload.library.as_str());
    let upload = UploadId::parse(id).filter(is_known);
    let upload = upload.ok_or_else(|| {
        let detail = "no upload has this id; POST /v1/images responds with the id of an upload";
        Problem::new(Code::NoSuchUpload, detail)
    })?;
    let status = find_upload_status(service, &upload).await?;
    Ok(to_upload_body(&upload, status, None))
}

fn to_upload_body(
    upload: &UploadId,
    status: UploadStatus,
    created: Option<bool>,
) -> UploadResultBody {
    let prefix = link_prefix();
    let (code, detail) = status.reason.unzip();
    UploadResultBody {
        id: upload.to_string(),
        state: match status.state {
            UploadState::Landed => UploadStateBody::Landed,
            UploadState::Indexed => UploadStateBody::Indexed,
            UploadState::Failed => UploadStateBody::Failed,
            UploadState::Removed => UploadStateBody::Removed,
        },
        created,
        library: upload.library.to_string(),
        path: status.path,
        content_hash: upload.content_hash.to_string(),
        image_url: status
            .image_id
            .as_ref()
            .map(|id| format!("{prefix}/v1/images/{id}")),
        image_id: status.image_id,
        code,
        detail,
        upload_url: format!("{prefix}/v1/uploads/{upload}"),
    }
}

/// Moves the file of an image to the trash.
pub(super) async fn remove_picture(
    service: &SearchService,
    id: &str,
) -> Result<RemovalAnswer, Problem> {
    let removed = remove::remove_image(service, id).await?;
    if removed.is_new {
        TRASHED_FILES.inc();
        tracing::info!(
            library = %removed.image.library,
            path = %removed.image.path,
            trash = %removed.trash_path.display(),
            "moved a picture to the trash"
        );
    }
    Ok(RemovalAnswer(RemovalBody {
        id: removed.image.id,
        library: removed.image.library,
        path: removed.image.path,
        trash_path: removed.trash_path.display().to_string(),
    }))
}

/// The answer to an upload: 202 for a new picture, 200 for one that the library had.
pub(crate) struct UploadAnswer {
    is_new: bool,
    body: UploadResultBody,
}

impl IntoResponse for UploadAnswer {
    fn into_response(self) -> Response {
        let status = match self.is_new {
            true => StatusCode::ACCEPTED,
            false => StatusCode::OK,
        };
        let location = self.body.upload_url.clone();
        Json(self.body)
            .with_header(header::LOCATION, location)
            .with_status(status)
            .into_response()
    }
}

const LOCATION: (&str, &str, bool) = (
    "Location",
    "The address of this upload, which shows its state",
    true,
);

impl ApiResponse for UploadAnswer {
    fn meta() -> MetaResponses {
        let response = |status, description| {
            let media = vec![json_media(UploadResultBody::schema_ref())];
            meta_response(status, description, media, &[LOCATION])
        };
        MetaResponses {
            responses: vec![
                response(200, "The library has this picture; no file was added"),
                response(202, "The picture is stored, and will be indexed"),
            ],
        }
    }

    fn register(registry: &mut Registry) {
        UploadResultBody::register(registry);
    }
}

/// The answer to a removal.
pub(crate) struct RemovalAnswer(RemovalBody);

impl IntoResponse for RemovalAnswer {
    fn into_response(self) -> Response {
        Json(self.0)
            .with_status(StatusCode::ACCEPTED)
            .into_response()
    }
}

impl ApiResponse for RemovalAnswer {
    fn meta() -> MetaResponses {
        let media = vec![json_media(RemovalBody::schema_ref())];
        let description = "The file is in the trash, and the image leaves the index soon";
        MetaResponses {
            responses: vec![meta_response(202, description, media, &[])],
        }
    }

    fn register(registry: &mut Registry) {
        RemovalBody::register(registry);
    }
}
