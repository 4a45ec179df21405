//! `search`: by a picture, an image id, text, or several of them.

mod output;
mod thumbnails;

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context as _, Result, anyhow, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, ValueEnum};
use lookalike_chassis::stdio;
pub use output::THUMBNAIL_SIDE;
use output::{AnswerPrinter, SearchOutputArgs};
pub(crate) use output::{BANDS, describe_band};
use serde_json::{Value, json};

pub use thumbnails::{ThumbnailDecoder, ThumbnailPixels};

use crate::file_list::split_file_list;
use crate::locate_file::is_image_id;
use crate::service::{ServiceArgs, ServiceClient};
use crate::terminal::escape_line;
use crate::usage_error::{format_error, usage_error};

/// What stands for standard input.
const STDIN: &str = "-";
/// Bounds what is read from standard input; the service accepts no larger picture.
const MAX_STDIN_BYTES: u64 = 1 << 30;

#[derive(Debug, Clone, Args)]
pub struct SearchArgs {
    #[command(flatten)]
    pub service: ServiceArgs,
    #[command(flatten)]
    pub output: SearchOutputArgs,
    /// Search by this picture; `-` is standard input
    #[arg(value_name = "IMAGE")]
    pub image: Option<PathBuf>,
    /// Search by an indexed picture; used alone, it is omitted from the hits
    #[arg(long, value_name = "ID", value_parser = parse_image_id)]
    pub id: Option<String>,
    /// Search by text, alone or combined with a picture
    ///
    /// Needs a model with a text encoder, such as `clip-b32`.
    #[arg(long, value_name = "TEXT")]
    pub text: Option<String>,
    /// More like this (can be repeated)
    #[arg(long, value_name = "ID|FILE|text:TEXT")]
    pub positive: Vec<SearchExample>,
    /// Less like this (can be repeated)
    #[arg(long, value_name = "ID|FILE|text:TEXT")]
    pub negative: Vec<SearchExample>,
    /// Maximum number of hits
    ///
    /// More than 1,000 are fetched in several requests, up to http.max_search_depth of the service.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=MAX_LIMIT))]
    pub limit: u32,
    /// Only hits with at least this share of the best score
    #[arg(long, value_name = "0..1", value_parser = parse_share)]
    pub relative_score: Option<f64>,
    /// Fold hits that show the same picture
    #[arg(long, value_enum)]
    pub group: Option<HitGroupArg>,
    /// Compare only this region of the picture, in fractions of its width and height
    ///
    /// For example 0.25,0,0.5,1: the middle half.
    #[arg(long, value_name = "X,Y,WIDTH,HEIGHT", value_parser = parse_region)]
    pub region: Option<PictureRegionArg>,
    /// Also find turned and mirrored copies; only for a single picture
    #[arg(long)]
    pub orientations: bool,
    /// Only this library
    #[arg(long, value_name = "NAME")]
    pub library: Option<String>,
    /// Only pictures that match this filter, in JSON
    ///
    /// For example {"folder": "2026/", "width": {"gte": 1000}}. docs/usage.md lists the fields and
    /// operators.
    #[arg(long, value_name = "JSON", value_parser = parse_filter)]
    pub filter: Option<Value>,
}

/// More rows than the service examines for one search.
const MAX_LIMIT: i64 = 16_384;
/// The maximum number of hits of one request.
const MAX_PAGE_HITS: u32 = 1000;

/// Which hits are folded into one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum HitGroupArg {
    /// Identical files
    Content,
    /// Identical files, the same picture in other files, turned copies and near-duplicates
    Near,
}

impl HitGroupArg {
    fn name(self) -> &'static str {
        match self {
            Self::Content => "content",
            Self::Near => "near",
        }
    }
}

/// The left edge, the upper edge, the width and the height of a region.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PictureRegionArg(pub [f64; 4]);

impl PictureRegionArg {
    /// Returns the value of the query parameter, in decimals without an exponent.
    fn to_param(self) -> String {
        self.0.map(|number| number.to_string()).join(",")
    }

    fn to_json(self) -> Value {
        let [x, y, width, height] = self.0;
        json!({ "x": x, "y": y, "width": width, "height": height })
    }
}

/// The examples in the help of `search`.
pub const EXAMPLES: &str = "Examples:\n  \
    lookalike search photo.jpg                          similar pictures\n  \
    lookalike search --text \"a red chair\"               by text, if the model has a text encoder\n  \
    lookalike search photo.jpg --text \"in the snow\"     by a picture and text\n  \
    lookalike search photo.jpg --negative other.jpg     more of this, less of that\n  \
    lookalike search --positive a.jpg --positive 9f8a41c25d7e03b6f4a1c2d3e4f50617 \\\n      \
    --negative text:people                            several pictures, ids and texts\n  \
    lookalike search photo.jpg --group near --limit 50  copies of one picture count as one hit\n  \
    lookalike search photo.jpg --region 0.5,0,0.5,1     by the right half of the picture\n  \
    lookalike search photo.jpg --filter '{\"taken_at\": \"2026\", \"tags\": \"beach\"}'\n  \
    lookalike search photo.jpg --open                   the hits on the page, in the browser\n  \
    lookalike search - < photo.jpg                      a picture from standard input\n  \
    lookalike search photo.jpg --paths -0 | xargs -0 ls -l\n  \
    find new -name '*.jpg' -print0 | lookalike search --files-from - -0 --limit 1\n\n\
    Each line shows the score (cosine, at most 1), its meaning (for one picture, if it was measured\n\
    for the model), the file as LIBRARY/PATH, and its id. The API also accepts a weight for each\n\
    part of a query: POST /v1/search.";

/// What hits should resemble more, or less.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SearchExample {
    /// An indexed image.
    Id(String),
    File(PathBuf),
    Text(String),
}

impl FromStr for SearchExample {
    type Err = &'static str;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        if word.is_empty() {
            return Err("give an id, a picture file, or text:TEXT");
        }
        let lower = word.to_ascii_lowercase();
        Ok(match word.strip_prefix("text:") {
            Some(text) => Self::Text(text.to_owned()),
            None if is_image_id(&lower) && Path::new(word).symlink_metadata().is_err() => {
                Self::Id(lower)
            }
            None => Self::File(word.into()),
        })
    }
}

/// Accepts upper case as well, which other programs may write.
fn parse_image_id(word: &str) -> Result<String, &'static str> {
    let lower = word.to_ascii_lowercase();
    match is_image_id(&lower) {
        true => Ok(lower),
        false => Err("an id has 32 hexadecimal digits; give a file without --id"),
    }
}

fn parse_share(text: &str) -> Result<f64, &'static str> {
    let share = text
        .parse()
        .ok()
        .filter(|share| (0.0..=1.0).contains(share));
    share.ok_or("give a number from 0 to 1, such as 0.9")
}

fn parse_region(text: &str) -> Result<PictureRegionArg, &'static str> {
    let numbers: Option<Vec<f64>> = text
        .split(',')
        .map(|part| part.trim().parse().ok())
        .collect();
    match numbers.as_deref() {
        Some([x, y, width, height])
            if [x, y].iter().all(|edge| (0.0..1.0).contains(*edge))
                && [width, height]
                    .iter()
                    .all(|side| **side > 0.0 && **side <= 1.0) =>
        {
            Ok(PictureRegionArg([*x, *y, *width, *height]))
        }
        _ => Err(
            "give four fractions: x and y from 0 to below 1, width and height above 0 and up \
                  to 1, such as 0.25,0,0.5,1",
        ),
    }
}

/// Accepts any object; the service checks its fields.
pub(crate) fn parse_filter(text: &str) -> Result<Value, String> {
    match serde_json::from_str(text) {
        Ok(filter @ Value::Object(_)) => Ok(filter),
        Ok(_) => Err("a filter is an object, such as {\"format\": \"jpeg\"}".to_owned()),
        Err(error) => Err(format!(
            "this is not JSON ({error}); quote the whole filter for the shell, as in \
             --filter '{{\"format\": \"jpeg\"}}'"
        )),
    }
}

impl SearchArgs {
    /// Whether there is nothing but one picture and one id.
    fn is_single(&self) -> bool {
        self.text.is_none() && self.positive.is_empty() && self.negative.is_empty()
    }

    /// The error message if there is nothing to search for.
    fn missing_query(&self) -> Option<&'static str> {
        let has_target = self.image.is_some()
            || self.id.is_some()
            || self.text.is_some()
            || !self.positive.is_empty()
            || self.output.files_from.is_some();
        let pictures = usize::from(self.image.is_some()) + usize::from(self.id.is_some());
        if has_target && self.region.is_some() && pictures != 1 {
            return Some("--region needs exactly one picture: a picture file or --id");
        }
        if has_target && self.orientations && !(self.is_single() && pictures == 1) {
            return Some(
                "--orientations needs a single picture: a picture file or --id, without --text, \
                 --positive and --negative",
            );
        }
        match (has_target, self.negative.is_empty()) {
            (true, _) => None,
            (false, true) => {
                Some("nothing to search for: give a picture file, --id, --text or --positive")
            }
            (false, false) => Some(
                "--negative alone is not enough: also give a picture file, --id, --text or \
                 --positive",
            ),
        }
    }
}

/// Searches, and prints the answers. `decode` decodes thumbnails for terminals.
pub async fn run_search(
    service: &ServiceClient,
    args: &SearchArgs,
    decode: ThumbnailDecoder,
) -> Result<()> {
    let printer = AnswerPrinter {
        service,
        output: &args.output,
        is_json: args.service.json,
        decode,
    };
    let Some(list) = &args.output.files_from else {
        let answer = send_search(service, args).await?;
        printer.write_answer(None, &answer).await?;
        return match args.output.open {
            true => open_page(service, args, &answer),
            false => Ok(()),
        };
    };
    let files = split_file_list(&read_picture(list).await?, args.output.null);
    if files.is_empty() {
        return Err(usage_error(anyhow!("{} lists no files", list.display())));
    }
    let mut failed = 0;
    for file in &files {
        let one = SearchArgs {
            image: Some(file.clone()),
            ..args.clone()
        };
        match send_search(service, &one).await {
            Ok(answer) => printer.write_answer(Some(file.as_path()), &answer).await?,
            // A bad picture delays no other one.
            Err(error) => {
                failed += 1;
                let line = format!("{}: {}", file.display(), format_error(&error));
                stdio::eprint_line(&escape_line(&line));
            }
        }
    }
    match failed {
        0 => Ok(()),
        failed => bail!("{failed} of {} searches failed", files.len()),
    }
}

/// Fails with wrong use if there is nothing to search for.
pub fn check_query(args: &SearchArgs) -> Result<()> {
    match args.missing_query() {
        Some(message) => Err(usage_error(anyhow!(message))),
        None => Ok(()),
    }
}

/// A search that is sent once for each page.
enum PreparedSearch {
    /// A picture, and the parameters of the address.
    Picture(Vec<u8>, Vec<(&'static str, String)>),
    /// The path of an indexed picture, and the parameters.
    Similar(String, Vec<(&'static str, String)>),
    /// The body of `POST /v1/search`.
    Request(Value),
}

impl PreparedSearch {
    /// Uses the endpoint for a single picture or id where possible.
    async fn new(args: &SearchArgs) -> Result<Self> {
        Ok(match (&args.image, &args.id) {
            (Some(path), None) if args.is_single() => {
                Self::Picture(read_picture(path).await?, list_params(args))
            }
            (None, Some(id)) if args.is_single() => {
                Self::Similar(format!("/v1/images/{id}/similar"), list_params(args))
            }
            _ => Self::Request(build_request(args).await?),
        })
    }

    async fn send(
        &self,
        service: &ServiceClient,
        limit: u32,
        cursor: Option<&str>,
    ) -> Result<Value> {
        let page = [
            Some(("limit", limit.to_string())),
            cursor.map(|cursor| ("cursor", cursor.to_owned())),
        ];
        let with_page = |params: &[(&'static str, String)]| {
            let page = page.iter().flatten().cloned();
            page.chain(params.iter().cloned()).collect::<Vec<_>>()
        };
        match self {
            Self::Picture(bytes, params) => {
                let params = with_page(params);
                service
                    .post_bytes("/v1/search/image", &params, bytes.clone())
                    .await
            }
            Self::Similar(path, params) => service.get_json(path, &with_page(params)).await,
            Self::Request(request) => {
                let mut request = request.clone();
                request["limit"] = limit.into();
                if let Some(cursor) = cursor {
                    request["cursor"] = cursor.into();
                }
                service.post_json("/v1/search", &request).await
            }
        }
    }
}

/// Returns the parameters of the address, besides those of a page.
fn list_params(args: &SearchArgs) -> Vec<(&'static str, String)> {
    let params = [
        ("library", args.library.clone()),
        ("filter", args.filter.as_ref().map(Value::to_string)),
        (
            "relative_score",
            args.relative_score.map(|share| share.to_string()),
        ),
        ("group", args.group.map(|group| group.name().to_owned())),
        ("region", args.region.map(PictureRegionArg::to_param)),
        ("orientations", args.orientations.then(|| "true".to_owned())),
    ];
    let given = params
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)));
    given.collect()
}

/// Fetches pages until there are enough hits, and joins them.
async fn send_search(service: &ServiceClient, args: &SearchArgs) -> Result<Value> {
    let search = PreparedSearch::new(args).await?;
    let mut joined = Value::Null;
    loop {
        let hits = joined["hits"].as_array().map_or(0, Vec::len);
        let missing = args
            .limit
            .saturating_sub(u32::try_from(hits).unwrap_or(u32::MAX));
        let cursor = joined["cursor"].as_str().map(str::to_owned);
        if missing == 0 || (cursor.is_none() && !joined.is_null()) {
            return Ok(joined);
        }
        let limit = missing.min(MAX_PAGE_HITS);
        let page = search.send(service, limit, cursor.as_deref()).await;
        join_page(
            &mut joined,
            page.map_err(|error| name_file_in_error(args, error))?,
        );
    }
}

/// Appends the hits of a page. The joined answer has the best band of all pages and their whole time.
fn join_page(joined: &mut Value, mut page: Value) {
    if joined.is_null() {
        *joined = page;
        return;
    }
    if let (Some(hits), Some(more)) = (joined["hits"].as_array_mut(), page["hits"].as_array_mut()) {
        hits.append(more);
    }
    joined["cursor"] = page["cursor"].take();
    let rank = |answer: &Value| {
        let band = answer["band"].as_str();
        BANDS.iter().position(|(name, _)| band == Some(name))
    };
    let (best, other) = (rank(joined), rank(&page));
    if other.is_some_and(|other| best.is_none_or(|best| other < best)) {
        joined["band"] = page["band"].take();
    }
    let times = [&*joined, &page].map(|answer| answer["took_ms"].as_f64().unwrap_or_default());
    joined["took_ms"] = json!(((times[0] + times[1]) * 10.0).round() / 10.0);
}

/// Replaces the service's name for an example, such as `positive[0].image`, by the file's path.
fn name_file_in_error(args: &SearchArgs, error: anyhow::Error) -> anyhow::Error {
    let message = error.to_string();
    for (list, examples) in [("positive", &args.positive), ("negative", &args.negative)] {
        for (i, example) in examples.iter().enumerate() {
            if let SearchExample::File(path) = example
                && let Some(rest) = message.strip_prefix(&format!("{list}[{i}].image: "))
            {
                return anyhow!("{}: {rest}", path.display());
            }
        }
    }
    error
}

async fn read_picture(path: &Path) -> Result<Vec<u8>> {
    if path == Path::new(STDIN) {
        return read_stdin().await;
    }
    let bytes = tokio::fs::read(path).await;
    bytes.map_err(|error| {
        let word = path.to_str().unwrap_or_default();
        let hint = match is_image_id(&word.to_ascii_lowercase()) {
            true => format!("; to search by an id, use --id {word}"),
            false => String::new(),
        };
        usage_error(anyhow!("cannot read {}: {error}{hint}", path.display()))
    })
}

async fn read_stdin() -> Result<Vec<u8>> {
    let reading = tokio::task::spawn_blocking(|| {
        let mut bytes = Vec::new();
        let input = std::io::stdin().lock();
        let read = input.take(MAX_STDIN_BYTES + 1).read_to_end(&mut bytes);
        read.map(|_| bytes)
    });
    let read = match reading.await {
        Ok(read) => read,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    };
    let bytes =
        read.map_err(|error| usage_error(anyhow!("cannot read standard input: {error}")))?;
    if bytes.len() as u64 > MAX_STDIN_BYTES {
        return Err(usage_error(anyhow!(
            "standard input has more than {MAX_STDIN_BYTES} bytes"
        )));
    }
    Ok(bytes)
}

async fn read_base64(path: &Path) -> Result<String> {
    Ok(STANDARD.encode(read_picture(path).await?))
}

/// Builds the body of `POST /v1/search`.
async fn build_request(args: &SearchArgs) -> Result<Value> {
    let mut request = json!({});
    if let Some(path) = &args.image {
        request["image"] = read_base64(path).await?.into();
    }
    for (name, value) in [("id", &args.id), ("text", &args.text)] {
        if let Some(value) = value {
            request[name] = value.clone().into();
        }
    }
    for (name, examples) in [("positive", &args.positive), ("negative", &args.negative)] {
        let mut parts = Vec::with_capacity(examples.len());
        for example in examples {
            parts.push(match example {
                SearchExample::Id(id) => json!({ "id": id }),
                SearchExample::Text(text) => json!({ "text": text }),
                SearchExample::File(path) => json!({ "image": read_base64(path).await? }),
            });
        }
        if !parts.is_empty() {
            request[name] = parts.into();
        }
    }
    match (&args.library, &args.filter) {
        (Some(library), Some(filter)) => {
            request["filter"] = json!({ "library": library, "and": [filter] });
        }
        (Some(library), None) => request["filter"] = json!({ "library": library }),
        (None, Some(filter)) => request["filter"] = filter.clone(),
        (None, None) => {}
    }
    if let Some(share) = args.relative_score {
        request["relative_score"] = share.into();
    }
    if let Some(group) = args.group {
        request["group"] = group.name().into();
    }
    if let Some(region) = args.region {
        request["region"] = region.to_json();
    }
    Ok(request)
}

fn open_page(service: &ServiceClient, args: &SearchArgs, answer: &Value) -> Result<()> {
    let best = answer["hits"][0]["id"].as_str();
    let (fragment, is_whole) = page_fragment(args, best);
    if !is_whole {
        stdio::eprint_line(
            "the page cannot show a picture of this disk: it shows pictures like the best hit",
        );
    }
    let url = format!("{}/#{fragment}", service.url());
    open::that_detached(&url).with_context(|| format!("cannot open {url} in a browser"))
}

/// Returns the address of a search on the page, and whether it has all parts of the search. Files are
/// replaced by the best hit.
fn page_fragment(args: &SearchArgs, best: Option<&str>) -> (String, bool) {
    let mut more: Vec<&str> = args.id.iter().map(String::as_str).collect();
    let mut less: Vec<&str> = Vec::new();
    let mut texts: Vec<&str> = args.text.iter().map(String::as_str).collect();
    let mut is_whole = args.image.is_none();
    for (examples, ids) in [(&args.positive, &mut more), (&args.negative, &mut less)] {
        for example in examples {
            match example {
                SearchExample::Id(id) => ids.push(id),
                SearchExample::File(_) | SearchExample::Text(_) => is_whole = false,
            }
        }
    }
    let is_text_positive = |example: &SearchExample| matches!(example, SearchExample::Text(_));
    if texts.is_empty()
        && let Some(SearchExample::Text(text)) = args.positive.iter().find(|e| is_text_positive(e))
    {
        texts.push(text);
        let other_parts = args.positive.len() - 1 + args.negative.len();
        is_whole = is_whole || (args.image.is_none() && other_parts == 0);
    }
    if !is_whole && let Some(best) = best {
        more.push(best);
    }
    match (&more[..], &less[..], &texts[..]) {
        ([], [], []) => ("/".to_owned(), is_whole),
        ([id], [], []) => (format!("/like/{id}"), is_whole),
        _ => {
            let mut query = reqwest::Url::parse("http://page/").expect("the URL is constant");
            {
                let mut pairs = query.query_pairs_mut();
                pairs.extend_pairs(texts.iter().map(|text| ("text", *text)));
                pairs.extend_pairs(more.iter().map(|id| ("more", *id)));
                pairs.extend_pairs(less.iter().map(|id| ("less", *id)));
            }
            (
                format!("/find?{}", query.query().unwrap_or_default()),
                is_whole,
            )
        }
    }
}

#[cfg(test)]
mod tests;
