//! The files that pages need: one stylesheet and one small script that nothing depends on. Each is
//! named by the digest of its content, so that a browser may keep it for ever.

use cs_core::canonical;
use std::sync::LazyLock;

/// A file.
pub struct Asset {
    /// Its name: the digest of its content, and an extension.
    pub name: String,
    /// `Content-Type`.
    pub kind: &'static str,
    pub text: &'static str,
}

impl Asset {
    fn new(stem: &str, extension: &str, kind: &'static str, text: &'static str) -> Self {
        let digest = canonical::digest_bytes(text.as_bytes());
        let short = digest.hex().get(..16).unwrap_or_default();
        Self { name: format!("{stem}-{short}.{extension}"), kind, text }
    }
}

/// The stylesheet of every page.
pub static STYLE: LazyLock<Asset> = LazyLock::new(|| {
    let text = include_str!("../assets/console.css");
    Asset::new("console", "css", "text/css; charset=utf-8", text)
});

/// The script of the console.
pub static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    let text = include_str!("../assets/console.js");
    Asset::new("console", "js", "text/javascript; charset=utf-8", text)
});

/// The file of a name.
pub fn asset(name: &str) -> Option<&'static Asset> {
    [&*STYLE, &*SCRIPT].into_iter().find(|asset| asset.name == name)
}
