//! Groups of images with the same content, or that show the same picture.
//!
//! A request continues where the one before stopped, and the service remembers nothing between them. Both
//! kinds of groups are found in the order of content hashes. [`sweep`] reads a range of hashes, which
//! contains all images of its contents, so a group of identical files is complete in one range. Pictures
//! that look the same are linked in [`links`]. A group of them is what the links connect ([`connected`]). It is
//! found at its smallest content hash only. Whether two contents are linked depends on these two alone,
//! and both must find each other. So every group is found exactly once, and no image is in two groups,
//! unless the index changes between two pages.
//!
//! [`keep`] decides which image of a group to keep.

mod connected;
mod keep;
mod links;
mod sweep;

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use lookalike_index::{IndexedImage, ReadConsistency, RowFilter};

use self::connected::find_group;
pub(crate) use self::keep::{JudgedImage, judge_images};
use self::links::PictureLinks;
use self::sweep::{ContentSweep, SharedContent};
use super::service::SearchService;
use super::visible::index::VisibleIndex;
use crate::problem::Problem;

/// What the images of a group have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DuplicateKind {
    /// The bytes of the files are the same.
    Identical,
    /// The pictures look the same, and at least two of the files differ.
    Near,
}

/// A request for groups.
pub(crate) struct DuplicateQuery {
    pub kind: DuplicateKind,
    pub filter: RowFilter,
    /// The maximum number of groups.
    pub limit: usize,
    /// Contents up to this hash, or start of a hash, were already examined.
    pub after: String,
}

/// Images of which one should be enough. The first one is to be kept.
#[derive(Debug, PartialEq)]
pub(crate) struct DuplicateImages {
    pub kind: DuplicateKind,
    pub images: Vec<JudgedImage>,
}

impl DuplicateImages {
    /// Returns the size of the files that are not to be kept, in bytes.
    pub(crate) fn reclaimable_bytes(&self) -> u64 {
        let others = self.images.iter().filter(|judged| !judged.keep);
        others
            .map(|judged| u64::try_from(judged.image.bytes).unwrap_or(0))
            .sum()
    }
}

/// A page of groups.
pub(crate) struct DuplicatePage {
    pub groups: Vec<DuplicateImages>,
    /// Where the next page continues; `None` at the end.
    pub cursor: Option<String>,
    /// Images whose content was examined.
    pub examined: u64,
    pub took: Duration,
}

/// Images of one group. Further ones are found after these have been removed.
const MAX_GROUP_IMAGES: usize = 1000;
/// A page ends when its groups have so many images, because they need memory.
const MAX_PAGE_IMAGES: usize = 4000;
/// Contents whose neighbours are searched for at once.
const CONTENTS_PER_SEARCH: usize = 64;

/// Finds the next groups, until there are `limit`, or the limits of a request are reached.
pub(crate) async fn find_duplicates(
    service: &SearchService,
    query: DuplicateQuery,
) -> Result<DuplicatePage, Problem> {
    let _permit = service.duplicate_permits.acquire()?;
    let started = Instant::now();
    let serving = service.load_model();
    let index = serving.index;
    let links = match query.kind {
        DuplicateKind::Identical => None,
        DuplicateKind::Near => {
            let description = &serving.description;
            let bands = description
                .bands
                .ok_or_else(|| Problem::model_without_bands(&description.name))?;
            Some(PictureLinks::new(service, &index, &query.filter, bands))
        }
    };
    let mut finder = DuplicateFinder {
        index: &index,
        filter: &query.filter,
        limit: query.limit,
        links,
        grouped: HashSet::new(),
        groups: Vec::new(),
        images: 0,
        examined: 0,
    };
    let mut sweep = ContentSweep::start(&index, &query.filter, query.after).await?;
    let settings = &service.settings;
    let cursor = 'pages: loop {
        let Some(part) = sweep.read_part().await? else {
            break None;
        };
        for contents in part.contents.chunks(CONTENTS_PER_SEARCH) {
            if let Some(last) = finder.examine_contents(contents).await? {
                break 'pages Some(last);
            }
            let is_late = started.elapsed() >= settings.duplicates_timeout;
            if is_late || finder.examined >= settings.max_duplicate_images as u64 {
                break 'pages contents.last().map(|content| content.hash.clone());
            }
        }
    };
    Ok(DuplicatePage {
        groups: finder.groups,
        cursor,
        examined: finder.examined,
        took: started.elapsed(),
    })
}

/// The groups of one page.
struct DuplicateFinder<'a> {
    index: &'a VisibleIndex,
    filter: &'a RowFilter,
    limit: usize,
    /// `None`: only identical files are found.
    links: Option<PictureLinks<'a>>,
    /// Contents of the groups of this page.
    grouped: HashSet<String>,
    groups: Vec<DuplicateImages>,
    /// In all groups.
    images: usize,
    examined: u64,
}

impl DuplicateFinder<'_> {
    /// Finds the groups that start at one of the contents. If the page is full, returns the last content
    /// that was examined.
    async fn examine_contents(
        &mut self,
        contents: &[SharedContent],
    ) -> Result<Option<String>, Problem> {
        let hashes: Vec<String> = contents
            .iter()
            .map(|content| content.hash.clone())
            .collect();
        let mut shared = match &mut self.links {
            Some(links) => {
                links.find_candidates(&hashes).await?;
                HashMap::new()
            }
            None => self.fetch_shared(contents).await?,
        };
        let mut last: Option<String> = None;
        for content in contents {
            let images = shared.remove(&content.hash);
            if self.links.is_none() && content.ids.len() > 1 && images.is_none() {
                return Ok(last);
            }
            self.examined += content.ids.len() as u64;
            last = Some(content.hash.clone());
            if self.links.is_some() {
                self.add_near_group(&content.hash).await?;
            } else if let Some(images) = images {
                self.add_group(DuplicateKind::Identical, images);
            }
            if self.groups.len() >= self.limit || self.images >= MAX_PAGE_IMAGES {
                return Ok(last);
            }
        }
        Ok(None)
    }

    /// Returns the images of the contents that several images have, for as many groups as fit on the page. The
    /// first such content is always among them.
    async fn fetch_shared(
        &self,
        contents: &[SharedContent],
    ) -> Result<HashMap<String, Vec<IndexedImage>>, Problem> {
        let mut ids: Vec<String> = Vec::new();
        let mut images_by_content: HashMap<String, Vec<IndexedImage>> = HashMap::new();
        let shared = contents.iter().filter(|content| content.ids.len() > 1);
        for content in shared.take(self.limit - self.groups.len()) {
            if self.images + ids.len() >= MAX_PAGE_IMAGES {
                break;
            }
            ids.extend(content.ids.iter().take(MAX_GROUP_IMAGES).cloned());
            images_by_content.insert(content.hash.clone(), Vec::new());
        }
        if ids.is_empty() {
            return Ok(images_by_content);
        }
        let images = self.index.fetch_images(&ids, ReadConsistency::Bounded);
        for image in images.await? {
            // A file may have changed meanwhile.
            if let Some(images) = images_by_content.get_mut(&image.content_hash) {
                images.push(image);
            }
        }
        Ok(images_by_content)
    }

    async fn add_near_group(&mut self, hash: &str) -> Result<(), Problem> {
        let Some(links) = &mut self.links else {
            return Ok(());
        };
        if self.grouped.contains(hash) {
            return Ok(());
        }
        let Some(contents) = find_group(links, hash).await? else {
            return Ok(());
        };
        let with_content = RowFilter::ContentHash(contents.clone());
        let filter = RowFilter::And(vec![self.filter.clone(), with_content]);
        let images = self
            .index
            .list_images(&filter, None, MAX_GROUP_IMAGES, ReadConsistency::Bounded)
            .await?;
        self.grouped.extend(contents);
        self.add_group(DuplicateKind::Near, images);
        Ok(())
    }

    fn add_group(&mut self, kind: DuplicateKind, images: Vec<IndexedImage>) {
        if images.len() < 2 {
            return;
        }
        self.images += images.len();
        let images = judge_images(images);
        self.groups.push(DuplicateImages { kind, images });
    }
}
