//! Exports in memory.

use async_trait::async_trait;
use contracts::evidence::Manifest;
use countersign_store::PortError;
use engine::ports::Archive;
use flate2::read::GzDecoder;
use serde_json::Value;
use std::{collections::BTreeMap, io::Read as _, sync::Mutex};

/// Documents by their names. The same name is never given to other bytes.
#[derive(Default)]
pub struct MemoryArchive(Mutex<BTreeMap<String, Vec<u8>>>);

impl MemoryArchive {
    /// The manifests of a workspace, in order, each with the events it takes.
    pub fn manifests(&self, workspace: &str) -> Vec<(Manifest, Vec<Value>)> {
        let held = self.0.lock().unwrap();
        let mut found = Vec::new();
        for (name, bytes) in
            held.iter().filter(|(name, _)| name.starts_with(&format!("{workspace}/")))
        {
            let Some(folder) = name.strip_suffix("manifest.json") else { continue };
            let manifest: Manifest = serde_json::from_slice(bytes).unwrap();
            let mut events = Vec::new();
            for part in &manifest.files {
                let mut text = String::new();
                GzDecoder::new(held[&format!("{folder}{}", part.name)].as_slice())
                    .read_to_string(&mut text)
                    .unwrap();
                events
                    .extend(text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
            }
            found.push((manifest, events));
        }
        found.sort_by_key(|(manifest, _)| manifest.number);
        found
    }

    /// Sequence numbers of everything that was exported of a subject, in order of the manifests.
    pub fn sequence(&self, workspace: &str, subject: &str) -> Vec<u64> {
        let manifests = self.manifests(workspace);
        let events = manifests
            .iter()
            .flat_map(|(_, events)| events)
            .filter(|event| event["subject"] == subject);
        events.map(|event| event["sequence"].as_u64().unwrap()).collect()
    }
}

#[async_trait]
impl Archive for MemoryArchive {
    async fn holds(&self, name: &str) -> Result<bool, PortError> {
        Ok(self.0.lock().unwrap().contains_key(name))
    }
    async fn put(&self, name: &str, _: &str, bytes: Vec<u8>) -> Result<(), PortError> {
        if let Some(before) = self.0.lock().unwrap().insert(name.to_owned(), bytes.clone()) {
            assert_eq!(before, bytes, "{name}: other bytes under the same name");
        }
        Ok(())
    }
}

impl MemoryArchive {
    /// Writes everything into a folder, as an auditor gets it.
    pub fn write_to(&self, root: &std::path::Path) {
        for (name, bytes) in self.0.lock().unwrap().iter() {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
    }
}
