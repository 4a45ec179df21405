//! The operations on single images: their rows, files and thumbnails.

use lookalike_index::{ReadConsistency, RowFilter};
use poem::Request;
use poem_openapi::OpenApi;
use poem_openapi::param::{Path, Query};

use super::convert::{check_limit, parse_image_id, to_image_body};
use super::filter::{FilterParams, parse_path_prefix};
use super::params::{
    ServiceData, example_cursor, example_filter, example_id, example_library, example_limit,
};
use super::refusals::{
    FileRefusal, ImageRefusal, ListRefusal, RemovalRefusal, StoreRefusal, ThumbnailRefusal,
    UploadStateRefusal,
};
use super::responses::{FileResponse, JsonAnswer, ThumbnailResponse};
use super::schema::{EXAMPLE_UPLOAD_ID, ImageBody, ImageList, UploadResultBody};
use super::tags::Tag;
use super::upload_stream::UploadStream;
use super::uploads::{
    RemovalAnswer, UploadAnswer, UploadParams, add_picture, describe_upload, remove_picture,
};
use crate::core::file_response::respond_with_file;
use crate::core::files::find_row;
use crate::core::thumbnails::respond_with_thumbnail;

const DEFAULT_THUMBNAIL_SIDE: u32 = 320;

pub(crate) struct ImageApi;

fn example_size() -> Option<u32> {
    Some(DEFAULT_THUMBNAIL_SIDE)
}

fn example_folder() -> Option<String> {
    Some("2026/chairs".into())
}

fn example_file_name() -> Option<String> {
    Some("oak-07.jpg".into())
}

fn example_upload_id() -> String {
    EXAMPLE_UPLOAD_ID.into()
}

#[OpenApi]
impl ImageApi {
    /// List images
    ///
    /// In pages, ordered by id.
    #[oai(
        path = "/v1/images",
        method = "get",
        operation_id = "listImages",
        tag = "Tag::Images"
    )]
    async fn list_images(
        &self,
        service: ServiceData<'_>,
        /// Only this library.
        #[oai(example = "example_library")]
        library: Query<Option<String>>,
        /// Only paths that start with this prefix, relative to the root of the library. A prefix
        /// that ends with `/` selects a folder. At most 4,096 characters.
        #[oai(validator(max_length = 4096))]
        path_prefix: Query<Option<String>>,
        /// Conditions for images in JSON, as the field `filter` of `POST /v1/search`.
        #[oai(example = "example_filter", validator(max_length = 16384))]
        filter: Query<Option<String>>,
        /// The maximum number of images, 1 to 1,000; 12 by default.
        #[oai(
            example = "example_limit",
            validator(minimum(value = "1"), maximum(value = "1000"))
        )]
        limit: Query<Option<u32>>,
        /// The `cursor` of the previous page.
        #[oai(example = "example_cursor")]
        cursor: Query<Option<String>>,
    ) -> Result<JsonAnswer<ImageList>, ListRefusal> {
        let after = match &cursor.0 {
            Some(cursor) => Some(parse_image_id("cursor", cursor)?),
            None => None,
        };
        let prefix = parse_path_prefix("path_prefix", path_prefix.0.as_deref())?;
        let filter = FilterParams {
            filter: filter.0,
            library: library.0,
        };
        let filter = RowFilter::And(vec![filter.to_row_filter(&service).await?, prefix]);
        let limit = check_limit(limit.0, &service.settings)?;
        let serving = service.load_model();
        let images = serving
            .index
            .list_images(&filter, after.as_deref(), limit, ReadConsistency::Bounded)
            .await?;
        // A full page may be the last one; then the next page is empty.
        let is_full = images.len() >= limit;
        let cursor = images
            .last()
            .filter(|_| is_full)
            .map(|image| image.id.clone());
        Ok(JsonAnswer(ImageList {
            images: images.into_iter().map(to_image_body).collect(),
            cursor,
        }))
    }

    /// Add a picture to a library
    ///
    /// Stores the file in the folder of a library whose settings permit it (`uploads.allow`), under a
    /// name that no other file has. The watcher then indexes it. The answer contains an address that
    /// shows the state of the upload. The same picture in the same folder is stored once: a repetition
    /// has the same id, and the status 200. Without `folder`, a picture that the library has in any
    /// folder is not stored again. The body is an image file of any supported format, or a form with
    /// the image as its only file.
    #[oai(
        path = "/v1/images",
        method = "post",
        operation_id = "uploadImage",
        tag = "Tag::Images"
    )]
    async fn upload_image(
        &self,
        service: ServiceData<'_>,
        /// The library. It may be left out if only one accepts uploads.
        #[oai(example = "example_library")]
        library: Query<Option<String>>,
        /// The folder, relative to the root of the library; the root by default. Missing folders are
        /// created. Hidden folders are refused, and symbolic links are not followed. At most 1,000 bytes.
        #[oai(example = "example_folder", validator(max_length = 1000))]
        folder: Query<Option<String>>,
        /// The name of the file; by default that of the file in a form, or one that follows from the
        /// content. A name without the extension of an image format gets one, and a number if another
        /// file has the name. At most 200 bytes.
        #[oai(example = "example_file_name", validator(max_length = 200))]
        name: Query<Option<String>>,
        stream: UploadStream,
    ) -> Result<UploadAnswer, StoreRefusal> {
        let params = UploadParams {
            library: library.0,
            folder: folder.0,
            name: name.0,
        };
        Ok(add_picture(&service, &params, stream).await?)
    }

    /// The state of an upload
    #[oai(
        path = "/v1/uploads/:id",
        method = "get",
        operation_id = "getUpload",
        tag = "Tag::Images"
    )]
    async fn get_upload(
        &self,
        service: ServiceData<'_>,
        /// The id of the upload, as `POST /v1/images` responds with it.
        #[oai(example = "example_upload_id")]
        id: Path<String>,
    ) -> Result<JsonAnswer<UploadResultBody>, UploadStateRefusal> {
        Ok(JsonAnswer(describe_upload(&service, &id).await?))
    }

    /// Move an image to the trash
    ///
    /// Moves the file to the trash folder (`uploads.trash_dir`) if the settings of its library permit
    /// it (`uploads.allow_deletions`), and if it still has the content that was indexed. The image then
    /// leaves the index; until then, a repetition has the same answer. Sidecars of the file stay.
    #[oai(
        path = "/v1/images/:id",
        method = "delete",
        operation_id = "removeImage",
        tag = "Tag::Images"
    )]
    async fn remove_image(
        &self,
        service: ServiceData<'_>,
        /// 32 lower-case hexadecimal digits.
        #[oai(example = "example_id")]
        id: Path<String>,
    ) -> Result<RemovalAnswer, RemovalRefusal> {
        let id = parse_image_id("id", &id)?;
        Ok(remove_picture(&service, &id).await?)
    }

    /// One image
    #[oai(
        path = "/v1/images/:id",
        method = "get",
        operation_id = "getImage",
        tag = "Tag::Images"
    )]
    async fn get_image(
        &self,
        service: ServiceData<'_>,
        /// 32 lower-case hexadecimal digits.
        #[oai(example = "example_id")]
        id: Path<String>,
    ) -> Result<JsonAnswer<ImageBody>, ImageRefusal> {
        let id = parse_image_id("id", &id)?;
        Ok(JsonAnswer(to_image_body(find_row(&service, &id).await?)))
    }

    /// The original file
    ///
    /// With `ETag` (the content hash) and ranges. Formats that browsers do not display are sent as
    /// a download.
    #[oai(
        path = "/v1/images/:id/content",
        method = "get",
        operation_id = "getContent",
        tag = "Tag::Images"
    )]
    async fn get_content(
        &self,
        service: ServiceData<'_>,
        request: &Request,
        /// 32 lower-case hexadecimal digits.
        #[oai(example = "example_id")]
        id: Path<String>,
    ) -> Result<FileResponse, FileRefusal> {
        let id = parse_image_id("id", &id)?;
        let row = find_row(&service, &id).await?;
        let response = respond_with_file(&service, &row, request.headers());
        Ok(FileResponse(response.await?))
    }

    /// A thumbnail
    ///
    /// A small JPEG in sRGB, upright. Transparent areas are white, or dark gray if what is drawn is
    /// nearly white. It is never larger than the original.
    #[oai(
        path = "/v1/images/:id/thumbnail",
        method = "get",
        operation_id = "getThumbnail",
        tag = "Tag::Images"
    )]
    async fn get_thumbnail(
        &self,
        service: ServiceData<'_>,
        request: &Request,
        /// 32 lower-case hexadecimal digits.
        #[oai(example = "example_id")]
        id: Path<String>,
        /// The longer side in pixels, 32 to 1,024; 320 by default.
        #[oai(
            example = "example_size",
            validator(minimum(value = "32"), maximum(value = "1024"))
        )]
        size: Query<Option<u32>>,
        /// The first 16 or more digits of the content hash. A response to an address with it never
        /// changes and may be cached for good. `thumbnail_url` contains it.
        v: Query<Option<String>>,
    ) -> Result<ThumbnailResponse, ThumbnailRefusal> {
        let id = parse_image_id("id", &id)?;
        let row = find_row(&service, &id).await?;
        let response = respond_with_thumbnail(
            &service,
            &row,
            size.0.unwrap_or(DEFAULT_THUMBNAIL_SIDE),
            v.0.as_deref(),
            request.headers(),
        );
        Ok(ThumbnailResponse(response.await?))
    }
}
