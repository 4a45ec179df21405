//! Chooses the frame of an animation that stands for it.
//!
//! Many animations fade in from black or begin with an empty frame. All of those would look the same
//! to the network, so the first frame that is not a single colour is used. If there is none within the
//! bounds, it is the first one. Frames are drawn over the canvas that earlier frames leave, as viewers
//! do.

use std::panic::AssertUnwindSafe;

use image::{
    AnimationDecoder, DynamicImage, Frames, ImageDecoder, ImageResult, Rgba,
    codecs::{gif::GifDecoder, png::PngDecoder, webp::WebPDecoder},
};

use crate::decode::{
    appearance::is_one_color,
    color_source::png::{PngAnimation, read_animation},
    deadline::{CpuDeadline, DeadlineReader},
    limits::Limits,
    sniff::FileFormat,
    webp,
};

/// Frames that are looked at: more than two seconds of a film.
pub(crate) const MAX_FRAMES: u64 = 64;
/// Pixels of all frames together that are looked at. A decoder needs about a second for them.
pub(crate) const MAX_FRAME_PIXELS: u64 = 200_000_000;

/// The range of each channel within which a frame counts as a single colour. Lossy formats add noise,
/// and the first frames of a fade are nearly black.
pub(crate) const MAX_NOISE: u8 = 12;

/// Canvases of four bytes per pixel that a decoder keeps: the current one, the one before, the frame,
/// its blended copy, and the result.
const CANVASES: u64 = 5;

/// Returns the first frame that is not a single colour. `picture` is the decoded first frame, or for
/// some PNG files the picture for programs without animation; it is returned if no frame is better.
pub(crate) fn choose_frame(
    picture: DynamicImage,
    bytes: &[u8],
    format: FileFormat,
    limits: &Limits,
    deadline: &CpuDeadline<'_>,
) -> DynamicImage {
    let must_look = match format {
        FileFormat::Gif => is_one_color(&picture, MAX_NOISE),
        FileFormat::WebP => is_animated_webp(bytes) && is_one_color(&picture, MAX_NOISE),
        FileFormat::Png => match read_animation(bytes) {
            PngAnimation::None => false,
            PngAnimation::StartsWithPicture => is_one_color(&picture, MAX_NOISE),
            // Viewers show the animation.
            PngAnimation::SeparatePicture => true,
        },
        _ => false,
    };
    if !must_look {
        return picture;
    }
    let pixels = u64::from(picture.width()) * u64::from(picture.height());
    let frame_bytes = match format {
        FileFormat::WebP => webp::claimed_frame_bytes(bytes),
        _ => 0,
    };
    let memory = (CANVASES * 4 * pixels).saturating_add(frame_bytes);
    let Ok(_permit) = deadline.reserve_memory(limits, memory) else {
        return picture;
    };
    let max_frames = (MAX_FRAME_PIXELS / pixels.max(1)).min(MAX_FRAMES);
    // A decoder that panics at a later frame has decoded the first one well. Unwind safe: the closure
    // owns all that it changes.
    let found = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let frames = open_frames(bytes, format, limits, deadline);
        find_frame(frames, max_frames as usize)
    }));
    found.ok().flatten().unwrap_or(picture)
}

/// Returns the first frame that is not a single colour, or else the first one. A damaged frame ends
/// the search.
fn find_frame(frames: ImageResult<Frames<'_>>, max_frames: usize) -> Option<DynamicImage> {
    let mut first = None;
    for frame in frames.ok()?.take(max_frames).map_while(Result::ok) {
        let frame = DynamicImage::ImageRgba8(frame.into_buffer());
        if !is_one_color(&frame, MAX_NOISE) {
            return Some(frame);
        }
        first.get_or_insert(frame);
    }
    first
}

fn open_frames<'a>(
    bytes: &'a [u8],
    format: FileFormat,
    limits: &Limits,
    deadline: &'a CpuDeadline<'a>,
) -> ImageResult<Frames<'a>> {
    let source = DeadlineReader::new(bytes, deadline);
    let mut image_limits = image::Limits::no_limits();
    image_limits.max_alloc = Some(limits.max_decode_bytes);
    match format {
        FileFormat::Png => {
            let decoder = PngDecoder::with_limits(source, image_limits)?;
            Ok(decoder.apng()?.into_frames())
        }
        FileFormat::WebP => {
            let mut decoder = WebPDecoder::new(source)?;
            // Without a colour, the decoder does not clear what a frame disposes of.
            decoder.set_background_color(Rgba([0; 4]))?;
            Ok(decoder.into_frames())
        }
        _ => {
            let mut decoder = GifDecoder::new(source)?;
            decoder.set_limits(image_limits)?;
            Ok(decoder.into_frames())
        }
    }
}

/// Returns whether the extended header of a WebP has the flag for animations.
fn is_animated_webp(bytes: &[u8]) -> bool {
    bytes.get(12..16) == Some(b"VP8X") && bytes.get(20).is_some_and(|flags| flags & 2 != 0)
}
