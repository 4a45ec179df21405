//! Pictures in the terminal, in the protocols of kitty, iTerm2 and sixel, or as coloured blocks.
//!
//! The protocol is chosen by environment variables. Asking the terminal itself would read the keyboard
//! input of the user.
//!
//! Written here, because the crate `viuer` needs `image`, `crossterm` and `tempfile`, and prints with
//! macros that panic when the output is closed. The caller decodes the pictures, with vision.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::ValueEnum;

/// Bytes of base64 in one command of kitty's protocol.
const KITTY_CHUNK: usize = 4096;
/// Lines of text that a picture takes in iTerm2.
const ITERM_LINES: u32 = 8;
/// Columns of a picture of coloured blocks.
const BLOCK_COLUMNS: usize = 32;
/// Values of red, green and blue in the colours of a sixel picture.
const SIXEL_LEVELS: usize = 6;

/// How `--thumbnails` shows pictures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ThumbnailMode {
    /// In a terminal that is known to show pictures
    #[default]
    Auto,
    Never,
    Kitty,
    Iterm,
    Sixel,
    /// Coloured blocks, which every terminal with 24-bit colours shows
    Blocks,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ThumbnailProtocol {
    Kitty,
    Iterm,
    Sixel,
    Blocks,
}

impl ThumbnailMode {
    /// Returns the protocol, if thumbnails are shown. `variable` reads an environment variable.
    pub(super) fn choose_protocol(
        self,
        is_terminal: bool,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Option<ThumbnailProtocol> {
        match self {
            Self::Never => None,
            Self::Kitty => Some(ThumbnailProtocol::Kitty),
            Self::Iterm => Some(ThumbnailProtocol::Iterm),
            Self::Sixel => Some(ThumbnailProtocol::Sixel),
            Self::Blocks => Some(ThumbnailProtocol::Blocks),
            Self::Auto if is_terminal => detect_protocol(variable),
            Self::Auto => None,
        }
    }
}

/// Within tmux and screen, `TERM` is theirs, and they pass no pictures on.
fn detect_protocol(variable: &dyn Fn(&str) -> Option<String>) -> Option<ThumbnailProtocol> {
    let term = variable("TERM").unwrap_or_default();
    if term.starts_with("tmux") || term.starts_with("screen") || variable("TMUX").is_some() {
        return None;
    }
    let program = variable("TERM_PROGRAM").unwrap_or_default();
    if term == "xterm-kitty" || term == "xterm-ghostty" || variable("KITTY_WINDOW_ID").is_some() {
        return Some(ThumbnailProtocol::Kitty);
    }
    if matches!(&program[..], "iTerm.app" | "WezTerm" | "mintty") {
        return Some(ThumbnailProtocol::Iterm);
    }
    let speaks_sixel = ["foot", "mlterm", "contour", "yaft"];
    speaks_sixel
        .iter()
        .any(|name| term.starts_with(name))
        .then_some(ThumbnailProtocol::Sixel)
}

/// A decoded thumbnail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThumbnailPixels {
    pub width: usize,
    pub height: usize,
    /// 8-bit RGB, row by row from the top.
    pub rgb: Vec<u8>,
}

/// Decodes the JPEG of a thumbnail; `None` if it is damaged.
pub type ThumbnailDecoder = fn(&[u8]) -> Option<ThumbnailPixels>;

impl ThumbnailPixels {
    fn at(&self, x: usize, y: usize) -> [u8; 3] {
        let start = (y.min(self.height - 1) * self.width + x.min(self.width - 1)) * 3;
        [self.rgb[start], self.rgb[start + 1], self.rgb[start + 2]]
    }

    /// The mean of an area, so that a reduced picture keeps its colours.
    fn mean(&self, x: std::ops::Range<usize>, y: std::ops::Range<usize>) -> [u8; 3] {
        let (mut sum, mut count) = ([0_u32; 3], 0);
        for row in y {
            for column in x.clone() {
                let pixel = self.at(column, row);
                (0..3).for_each(|i| sum[i] += u32::from(pixel[i]));
                count += 1;
            }
        }
        sum.map(|sum| u8::try_from(sum / count.max(1)).unwrap_or(u8::MAX))
    }
}

/// Returns what shows the picture at the cursor, and a line break. `None` if it cannot be decoded.
pub(super) fn encode_thumbnail(
    protocol: ThumbnailProtocol,
    jpeg: &[u8],
    decode: ThumbnailDecoder,
) -> Option<Vec<u8>> {
    let text = match protocol {
        ThumbnailProtocol::Iterm => encode_iterm(jpeg),
        ThumbnailProtocol::Kitty => encode_kitty(&decode(jpeg)?),
        ThumbnailProtocol::Sixel => encode_sixel(&decode(jpeg)?),
        ThumbnailProtocol::Blocks => encode_blocks(&decode(jpeg)?),
    };
    Some(text.into_bytes())
}

/// <https://iterm2.com/documentation-images.html>
fn encode_iterm(jpeg: &[u8]) -> String {
    format!(
        "\x1b]1337;File=inline=1;size={};height={ITERM_LINES};preserveAspectRatio=1:{}\x07\n",
        jpeg.len(),
        STANDARD.encode(jpeg)
    )
}

/// <https://sw.kovidgoyal.net/kitty/graphics-protocol/>
fn encode_kitty(pixels: &ThumbnailPixels) -> String {
    let data = STANDARD.encode(&pixels.rgb);
    let chunks: Vec<&[u8]> = data.as_bytes().chunks(KITTY_CHUNK).collect();
    let mut text = String::new();
    for (number, chunk) in chunks.iter().enumerate() {
        let more = u8::from(number + 1 < chunks.len());
        // `q=2`: the terminal sends no answer, which a shell would read as input.
        let keys = match number {
            0 => format!("a=T,q=2,f=24,s={},v={},", pixels.width, pixels.height),
            _ => String::new(),
        };
        let chunk = String::from_utf8_lossy(chunk);
        text += &format!("\x1b_G{keys}m={more};{chunk}\x1b\\");
    }
    text.push('\n');
    text
}

/// <https://vt100.net/docs/vt3xx-gp/chapter14.html>
fn encode_sixel(pixels: &ThumbnailPixels) -> String {
    let level = |value: u8| usize::from(value) * (SIXEL_LEVELS - 1) / 255;
    let color_at = |x: usize, y: usize| {
        let [r, g, b] = pixels.at(x, y).map(level);
        (r * SIXEL_LEVELS + g) * SIXEL_LEVELS + b
    };
    let colors = SIXEL_LEVELS.pow(3);
    let mut text = format!("\x1bPq\"1;1;{};{}", pixels.width, pixels.height);
    for color in 0..colors {
        let percent = |level: usize| level * 100 / (SIXEL_LEVELS - 1);
        let (r, g, b) = (
            color / SIXEL_LEVELS / SIXEL_LEVELS,
            color / SIXEL_LEVELS % SIXEL_LEVELS,
            color % SIXEL_LEVELS,
        );
        let _ = write!(
            text,
            "#{color};2;{};{};{}",
            percent(r),
            percent(g),
            percent(b)
        );
    }
    for top in (0..pixels.height).step_by(6) {
        let mut bits = vec![vec![0_u8; pixels.width]; colors];
        for y in top..(top + 6).min(pixels.height) {
            for x in 0..pixels.width {
                bits[color_at(x, y)][x] |= 1 << (y - top);
            }
        }
        for (color, row) in bits.iter().enumerate() {
            if row.iter().any(|bits| *bits != 0) {
                let _ = write!(text, "#{color}");
                push_sixel_runs(&mut text, row);
                text.push('$');
            }
        }
        text.push('-');
    }
    text += "\x1b\\\n";
    text
}

/// Appends one colour of six rows of pixels, with repetitions counted.
fn push_sixel_runs(text: &mut String, row: &[u8]) {
    for run in row.chunk_by(|a, b| a == b) {
        let character = char::from(b'?' + run[0]);
        match run.len() {
            length @ 4.. => {
                let _ = write!(text, "!{length}{character}");
            }
            length => text.extend(std::iter::repeat_n(character, length)),
        }
    }
}

/// Each character shows two pixels, one above the other.
fn encode_blocks(pixels: &ThumbnailPixels) -> String {
    let columns = pixels.width.min(BLOCK_COLUMNS);
    let rows = (pixels.height * columns / pixels.width).max(1);
    let area = |column: usize, row: usize| {
        let (x, y) = (column * pixels.width / columns, row * pixels.height / rows);
        let (end_x, end_y) = (
            (column + 1) * pixels.width / columns,
            (row + 1) * pixels.height / rows,
        );
        pixels.mean(x..end_x.max(x + 1), y..end_y.max(y + 1))
    };
    let mut text = String::new();
    for row in (0..rows).step_by(2) {
        for column in 0..columns {
            let [r, g, b] = area(column, row);
            let _ = write!(text, "\x1b[38;2;{r};{g};{b}");
            if row + 1 < rows {
                let [r, g, b] = area(column, row + 1);
                let _ = write!(text, ";48;2;{r};{g};{b}");
            }
            text += "m▀";
        }
        text += "\x1b[0m\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocol_follows_the_terminal() {
        let detect = |variables: &[(&str, &str)]| {
            let variable = |name: &str| {
                let found = variables.iter().find(|(variable, _)| *variable == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            ThumbnailMode::Auto.choose_protocol(true, &variable)
        };
        assert_eq!(detect(&[("TERM", "xterm-256color")]), None);
        assert_eq!(
            detect(&[("TERM", "xterm-kitty")]),
            Some(ThumbnailProtocol::Kitty)
        );
        assert_eq!(
            detect(&[("TERM", "xterm-256color"), ("TERM_PROGRAM", "iTerm.app")]),
            Some(ThumbnailProtocol::Iterm)
        );
        assert_eq!(
            detect(&[("TERM", "foot-extra")]),
            Some(ThumbnailProtocol::Sixel)
        );
        assert_eq!(
            detect(&[("TERM", "tmux-256color"), ("KITTY_WINDOW_ID", "1")]),
            None
        );
        let kitty = |_: &str| Some("xterm-kitty".to_owned());
        assert_eq!(ThumbnailMode::Auto.choose_protocol(false, &kitty), None);
        assert_eq!(ThumbnailMode::Never.choose_protocol(true, &kitty), None);
    }

    /// A gradient that is larger than one chunk of kitty's protocol.
    fn gradient() -> ThumbnailPixels {
        let (width, height) = (96, 64);
        let pixel = |i: usize| [(i % width) as u8, (i / width) as u8, 7];
        ThumbnailPixels {
            width,
            height,
            rgb: (0..width * height).flat_map(pixel).collect(),
        }
    }

    #[test]
    fn pictures_are_encoded_completely() {
        let encode = |protocol| {
            let bytes = encode_thumbnail(protocol, b"jpeg", |_| Some(gradient()));
            String::from_utf8(bytes.unwrap()).unwrap()
        };
        let kitty = encode(ThumbnailProtocol::Kitty);
        let data: String = kitty
            .split("\x1b_G")
            .skip(1)
            .map(|command| command.split_once(';').unwrap().1.trim_end())
            .map(|data| data.trim_end_matches("\x1b\\"))
            .collect();
        assert_eq!(STANDARD.decode(data).unwrap(), gradient().rgb);
        assert_eq!(kitty.matches("m=0;").count(), 1);
        let iterm = encode(ThumbnailProtocol::Iterm);
        let data = iterm.split_once(':').unwrap().1;
        let data = data.trim_end_matches(['\n', '\x07']);
        assert_eq!(STANDARD.decode(data).unwrap(), b"jpeg");
        let blocks = encode(ThumbnailProtocol::Blocks);
        assert_eq!(
            blocks.lines().count(),
            (64 * BLOCK_COLUMNS / 96_usize).div_ceil(2)
        );
        let is_full = |line: &str| line.matches('▀').count() == BLOCK_COLUMNS;
        assert!(blocks.lines().all(is_full), "{blocks}");
        assert!(encode_thumbnail(ThumbnailProtocol::Kitty, b"", |_| None).is_none());
    }

    /// Decodes the picture again, as a terminal does.
    #[test]
    fn a_sixel_picture_has_the_colors_of_its_pixels() {
        let (width, height) = (9, 8);
        let rgb: Vec<u8> = (0..width * height)
            .flat_map(|i| {
                if (i % width) < 5 {
                    [255, 0, 0]
                } else {
                    [0, 255, 51]
                }
            })
            .collect();
        let text = encode_sixel(&ThumbnailPixels { width, height, rgb });
        let (_, bands) = text.split_once("#215;2;100;100;100").unwrap();
        let red = (SIXEL_LEVELS - 1) * 36;
        let green = (SIXEL_LEVELS - 1) * 6 + 1;
        assert_eq!(
            bands,
            format!("#{green}!5?!4~$#{red}!5~!4?$-#{green}!5?!4B$#{red}!5B!4?$-\x1b\\\n")
        );
    }
}
