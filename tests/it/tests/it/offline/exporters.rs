//! Exporters that are killed, that run at once, and that sign with another key than before.

use super::{
    Story,
    exports::{audited, by_python, own_key, read, relog, write_signed_by},
};
use async_trait::async_trait;
use countersign_it::archive::MemoryArchive;
use countersign_store::PortError;
use cs_core::warrant::{Key, Ring};
use engine::ports::Archive;
use std::sync::atomic::{AtomicUsize, Ordering};

/// An archive whose every write may be the last one of a run.
struct Killing<'a> {
    archive: &'a MemoryArchive,
    left: AtomicUsize,
}

#[async_trait]
impl Archive for Killing<'_> {
    async fn holds(&self, name: &str) -> Result<bool, PortError> {
        self.archive.holds(name).await
    }
    async fn put(&self, name: &str, media: &str, bytes: Vec<u8>) -> Result<(), PortError> {
        let left =
            self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        left.map_err(|_| PortError::Unavailable("killed".into()))?;
        self.archive.put(name, media, bytes).await
    }
}

/// Killed at each write, an export goes on, and the same window gives the same bytes.
#[tokio::test]
async fn an_export_that_is_killed_at_each_write_goes_on() {
    for writes in 0..9 {
        let mut story = Story::of_three_hours().await;
        story.execution().await;
        story.clock().pass(super::HOUR_MS);
        let killing = Killing { archive: &story.archive, left: writes.into() };
        let exports = &story.fixture.engine.exports;
        let mut killed = 0;
        while exports.export(&killing, 60_000).await.is_err() {
            killed += 1;
            assert!(killed < 20);
            // Each run gets one write further than the one before.
            killing.left.store(killed + 1, Ordering::SeqCst);
        }
        let report = audited(story.folder().path(), &own_key(), None);
        assert!(report.is_whole(), "after {writes} writes: {:#?}", report.findings);
        assert_eq!(report.checked.executions, 7, "after {writes} writes");
    }
}

/// Two at once: one of them may break off, and what is there is whole.
#[tokio::test]
async fn attack_two_exporters_at_once() {
    let mut story = Story::of_three_hours().await;
    for _ in 0..4 {
        story.execution().await;
    }
    story.clock().pass(super::HOUR_MS);
    let exports = &story.fixture.engine.exports;
    let run = || exports.export(&story.archive, 60_000);
    let (one, two) = futures_util::future::join(run(), run()).await;
    assert!(one.is_ok() || two.is_ok(), "{one:?} {two:?}");
    exports.export(&story.archive, 60_000).await.unwrap();
    let report = audited(story.folder().path(), &own_key(), None);
    assert!(report.is_whole(), "{:#?}", report.findings);
    assert_eq!(report.checked.executions, 10);
}

/// The key is rotated between two exports: who has both finds them whole, who has one misses the
/// other.
#[tokio::test]
async fn attack_a_key_rotation_in_the_middle_of_a_window() {
    let story = Story::of_three_hours().await;
    let folder = story.folder();
    let mut exports = read(folder.path());
    let (before, next) = (own_key(), Key::new(&[8; 32]));
    // From the second hour on signed by the next key, the checkpoints among it.
    let key = |number| if number > 2 { &next } else { &before };
    relog(&mut exports, &key);
    write_signed_by(&mut exports, &key);
    let both = vec![own_key().public(), next.public()];
    let options = audit::Options::new(both);
    let report = audit::check(folder.path(), &options, &mut |_| {}).unwrap();
    assert!(report.is_whole(), "{:#?}", report.findings);
    let ring = Ring::new(Key::new(&[8; 32])).with_published([own_key()]);
    assert_eq!(by_python(folder.path(), ring, None), [""; 0]);
    for key in [own_key(), Key::new(&[8; 32])] {
        let report = audited(folder.path(), &key, None);
        assert_eq!(report.findings[0].code, audit::Code::UnknownKey);
    }
}
