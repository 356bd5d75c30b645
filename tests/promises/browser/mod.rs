//! Pages in a real browser. Needs Chromium.

pub(crate) mod accessible;
pub(crate) mod console;
pub(crate) mod docs_page;
pub(crate) mod hostile_pages;
