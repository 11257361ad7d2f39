//! The style sheet of the page, which a chart as a picture of its own takes along.

pub(crate) const STYLE: &str = include_str!("page/page.css");
