//! Connects `search` with the service, and with vision, which decodes thumbnails for terminals.

use anyhow::Result;
use lookalike_client::search::{self, SearchArgs, THUMBNAIL_SIDE, ThumbnailPixels};
use lookalike_vision::{Limits, decode_image};

use crate::settings::Settings;

pub async fn run_search(settings: &Settings, args: &SearchArgs) -> Result<()> {
    let service = settings.connect_service()?;
    search::run_search(&service, args, decode_thumbnail).await
}

fn decode_thumbnail(jpeg: &[u8]) -> Option<ThumbnailPixels> {
    let (image, _) = decode_image(jpeg, THUMBNAIL_SIDE, &Limits::default()).ok()?;
    Some(ThumbnailPixels {
        width: usize::try_from(image.width).ok()?,
        height: usize::try_from(image.height).ok()?,
        rgb: image.rgb,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thumbnails_are_decoded() {
        let jpeg = lookalike_vision::encode_jpeg(&[200; 8 * 4 * 3], 8, 4, 90);
        let pixels = decode_thumbnail(&jpeg).unwrap();
        assert_eq!((pixels.width, pixels.height), (8, 4));
        assert_eq!(pixels.rgb.len(), 8 * 4 * 3);
        assert_eq!(decode_thumbnail(b"no picture"), None);
    }
}
