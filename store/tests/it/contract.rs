//! Every store keeps the same promises.

mod memory {
    use std::sync::Arc;

    use landfall_store::MemoryStore;

    landfall_store::event_store_contract!((Arc::new(MemoryStore::new()), ()));
}

mod segments_in_a_folder {
    use landfall_store::{DataDir, Options};

    landfall_store::event_store_contract!({
        let folder = tempfile::tempdir().unwrap();
        let opened = DataDir::open(folder.path().join("data"), &Options::default()).unwrap();
        (opened.store, folder)
    });
}

/// So small that every few events start another file.
mod many_small_segments {
    use landfall_store::{DataDir, Options};

    landfall_store::event_store_contract!({
        let folder = tempfile::tempdir().unwrap();
        let options = Options { segment_bytes: 4_000, ..Options::default() };
        let opened = DataDir::open(folder.path().join("data"), &options).unwrap();
        (opened.store, folder)
    });
}

mod segments_in_memory {
    use std::sync::Arc;

    use landfall_store::SegmentStore;
    use landfall_store::disk::FaultyDisk;

    landfall_store::event_store_contract!({
        let log_id = uuid::Uuid::now_v7();
        let (store, _) = SegmentStore::on_disk(Arc::new(FaultyDisk::new()), log_id, 20_000).unwrap();
        (Arc::new(store), ())
    });
}
