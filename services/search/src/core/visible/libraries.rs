//! The libraries that a request may see.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use lookalike_index::RowFilter;
use lookalike_proto::LibraryName;

/// The libraries that a request may see: all, or those of its API key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VisibleLibraries {
    /// `None`: all.
    names: Option<Arc<BTreeSet<LibraryName>>>,
}

impl VisibleLibraries {
    pub(crate) fn all() -> Self {
        Self { names: None }
    }

    /// Only these libraries, which may be none.
    pub(crate) fn only(names: impl IntoIterator<Item = LibraryName>) -> Self {
        Self {
            names: Some(Arc::new(names.into_iter().collect())),
        }
    }

    /// Whether there may be libraries that the request must not see.
    pub(crate) fn is_limited(&self) -> bool {
        self.names.is_some()
    }

    pub(crate) fn contains(&self, library: &str) -> bool {
        match &self.names {
            Some(names) => names.iter().any(|name| name.as_str() == library),
            None => true,
        }
    }

    /// Adds the condition that rows belong to a visible library.
    pub(crate) fn limit_rows<'a>(&self, filter: &'a RowFilter) -> Cow<'a, RowFilter> {
        match &self.names {
            Some(names) => {
                let names = names.iter().map(ToString::to_string).collect();
                let visible = RowFilter::Library(names);
                Cow::Owned(match filter {
                    RowFilter::All => visible,
                    filter => RowFilter::And(vec![visible, filter.clone()]),
                })
            }
            None => Cow::Borrowed(filter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<LibraryName> {
        let names = names.iter().map(|name| LibraryName::new(name).unwrap());
        names.collect()
    }

    #[test]
    fn every_filter_is_limited() {
        let visible = VisibleLibraries::only(names(&["shop", "archive"]));
        assert!(visible.is_limited() && visible.contains("shop") && !visible.contains("home"));
        let both = RowFilter::Library(vec!["archive".into(), "shop".into()]);
        assert_eq!(*visible.limit_rows(&RowFilter::All), both);
        let hidden = RowFilter::Library(vec!["home".into()]);
        let either = RowFilter::Or(vec![RowFilter::All, hidden]);
        let limited = RowFilter::And(vec![both, either.clone()]);
        assert_eq!(*visible.limit_rows(&either), limited);
    }

    #[test]
    fn a_key_without_libraries_sees_nothing() {
        let none = VisibleLibraries::only([]);
        assert!(none.is_limited() && !none.contains("shop"));
        // An empty list of alternatives matches no row.
        let nothing = RowFilter::Library(Vec::new());
        assert_eq!(*none.limit_rows(&RowFilter::All), nothing);
    }

    #[test]
    fn without_a_limit_filters_stay() {
        let all = VisibleLibraries::all();
        assert!(!all.is_limited() && all.contains("shop"));
        let filter = RowFilter::HasTags;
        assert!(matches!(all.limit_rows(&filter), Cow::Borrowed(same) if *same == filter));
    }
}
