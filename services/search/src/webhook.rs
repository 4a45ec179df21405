//! Webhooks: sends the matches of saved searches to other programs, over HTTP.
//!
//! | step | where |
//! |---|---|
//! | settings; which hosts and addresses requests may go to | [`settings`], [`allowed_host`], [`address`] |
//! | check an address before it is stored and before each request | [`target`] |
//! | resolve, connect to a checked address, and send | [`sender`], [`signature`] |
//! | take matches from the queue of a webhook; retry; give up | [`delivery`], [`state`] |
//!
//! A webhook is a way out of the network, so requests go only to hosts that the settings list. The
//! address that a name resolves to is checked, and the connection goes to that very address: there is no
//! second lookup. Redirects are not followed, proxies are not used, and the body of a response is not
//! read.

pub(crate) mod settings;

pub(crate) mod address;
pub(crate) mod allowed_host;

pub(crate) mod target;

pub(crate) mod sender;
mod signature;

pub(crate) mod delivery;
pub(crate) mod state;
