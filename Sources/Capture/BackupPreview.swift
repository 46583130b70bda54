package import Model
import Platform
package import Vault

/// What a backup would read, found by the walk alone.
package struct BackupPreview: Sendable {
    package var entries: UInt64 = 0
    package var files: UInt64 = 0
    package var bytes: UInt64 = 0
    package var filesToRead: UInt64 = 0
    package var bytesToRead: UInt64 = 0
    package var warnings: [PointWarning] = []

    /// Walks the source and compares it with the cache of the run before; reads no contents and asks no vault.
    package static func run(
        source: CaptureSource, secrets: WriterSecrets, cacheDirectory: [UInt8],
        each: (TreePath, UInt64) throws -> Void = { _, _ in }
    ) throws -> BackupPreview {
        let name = WriterCache.name(vault: secrets.vault, source: source.cacheSource)
        return try run(
            source: source, cache: CacheReader(path: cacheDirectory + Array("/".utf8) + name), each: each)
    }

    /// - Parameter each: is told of every file that would be read, with its size.
    package static func run(
        source: CaptureSource, cache: CacheReader?, each: (TreePath, UInt64) throws -> Void
    ) throws -> BackupPreview {
        var preview = BackupPreview()
        // No contents are read: the slabs are only taken and given back.
        let slabs = SlabPool(slabSize: 2 << 20, limit: 2)
        try withoutActuallyEscaping(each) { each in
            let walker = TreeWalker(
                source: source, cache: cache, damaged: [], slabs: slabs, progress: CaptureProgress()
            ) { batch in
                preview.warnings += batch.warnings
                for item in batch.items {
                    preview.entries += 1
                    guard item.status.kind == .regular else { continue }
                    preview.files += 1
                    preview.bytes += item.status.size
                    switch item.work {
                    case .small, .large:
                        preview.filesToRead += 1
                        preview.bytesToRead += item.status.size
                        if let path = TreePath(key: item.key) { try each(path, item.status.size) }
                    case .none, .metadata, .link: break
                    }
                }
                batch.slab = nil
            }
            try walker.run()
        }
        return preview
    }
}
