package import Model

/// Decides which small files to bundle again.
///
/// A small file that changes leaves its bundle and is stored with what else changed in that run. After many runs a
/// bundle can hold mostly bytes that no tree needs, and files that change alone can lie in blobs of a few bytes each:
/// both make a vault larger and a restore slower. So a run observes where the files of its new tree lie, and names the
/// blobs whose files the next run should read and bundle again, a bounded number each time.
///
/// Pure: it sees entries and answers with a plan, and does nothing.
package struct RebundlePlanner {
    /// How much one run may do again.
    package struct Limits: Hashable, Sendable {
        /// Most bytes of files to bundle again.
        package var bytes: UInt64
        /// Most files to bundle again.
        package var files: Int

        package init(bytes: UInt64, files: Int = 16_384) {
            self.bytes = bytes
            self.files = files
        }

        /// What suits after a run that stored `newBytes`: a thirty-second of it, so that tidying up stays far below a
        /// tenth of the change, but at least 1 MiB, and at most 64.
        package static func afterRun(newBytes: UInt64) -> Limits {
            Limits(bytes: min(max(newBytes / 32, 1 << 20), 64 << 20))
        }
    }

    /// A blob of which less than this part is used is bundled again.
    package static let usedPart: UInt64 = 4
    /// Files that stand alone are bundled again only when there are at least so many ...
    package static let aloneFiles = 32
    /// ... and together they are at least so long: otherwise a new blob would be hardly better than the old ones.
    package static let aloneBytes: UInt64 = 64 << 10

    private struct Usage {
        /// Bytes that entries name; equal files that share a slice count each.
        var used: UInt64 = 0
        /// The end of the last slice that is named: the blob is at least that long.
        var end: UInt64 = 0
        var files = 0

        mutating func add(_ other: Usage) {
            used += other.used
            end = max(end, other.end)
            files += other.files
        }
    }

    private let blobLimit: Int
    private let salt: UInt64
    /// Blobs with a key that has these bits, after the salt, are counted.
    private var mask: UInt64 = 0
    private var usages: [ContentKey: Usage] = [:]
    /// Neighbours mostly lie in the same blob: its count is kept aside.
    private var current: ContentKey?
    private var usage = Usage()

    /// - Parameters:
    ///   - salt: another one each run, the number of the point for instance.
    ///   - blobs: most blobs to keep count of, about 100 B each. With more in the tree each run looks at a part of them,
    ///     chosen by its salt.
    package init(salt: UInt64, blobs: Int = 1 << 17) {
        blobLimit = blobs
        // Spread over all bits: numbers of points are small.
        self.salt = salt &* 0x9E37_79B9_7F4A_7C15
    }

    /// Takes note of an entry of the new tree. Call it for every entry, in any order; files that are not small are
    /// passed over.
    package mutating func observe(_ entry: borrowing Entry) {
        guard let extent = RebundlePlanner.slice(of: entry), let key = extent.key else { return }
        if current != key {
            settle()
            current = key
            usage = Usage()
        }
        usage.used += extent.length
        usage.end = max(usage.end, UInt64(extent.offset) + extent.length)
        usage.files += 1
    }

    /// The plan for the next run.
    package func plan(_ limits: Limits) -> RebundlePlan {
        var finished = self
        finished.settle()
        return finished.choose(limits)
    }

    /// The one slice of a small file's content; `nil` for everything else.
    static func slice(of entry: borrowing Entry) -> Extent? {
        guard entry.kind == .regular, case .extents(let extents) = entry.content, extents.count == 1,
            let extent = extents.first, extent.key != nil, extent.length <= UInt64(BundleRule.smallFileLimit)
        else { return nil }
        return extent
    }

    private func isCounted(_ key: ContentKey) -> Bool { (key.bytes.w0 ^ salt) & mask == 0 }

    private mutating func settle() {
        guard let key = current else { return }
        current = nil
        guard isCounted(key) else { return }
        usages[key, default: Usage()].add(usage)
        while usages.count > blobLimit {
            mask = mask << 1 | 1
            usages = usages.filter { isCounted($0.key) }
        }
    }

    private func choose(_ limits: Limits) -> RebundlePlan {
        var wasted: [(key: ContentKey, usage: Usage)] = []
        var alone: [(key: ContentKey, usage: Usage)] = []
        var aloneBytes: UInt64 = 0
        for (key, usage) in usages {
            if usage.used * RebundlePlanner.usedPart < usage.end {
                wasted.append((key, usage))
            } else if usage.files == 1, usage.used == usage.end {
                // Nothing else of the blob is used, and it is as long as the file as far as the tree tells.
                alone.append((key, usage))
                aloneBytes += usage.used
            }
        }
        // Those first that free most for each byte read; equal ones by key, so that a plan is always the same.
        wasted.sort { a, b in
            // Ends are at most 1 MiB and a wasted blob is used to less than that: the products fit.
            let left = a.usage.used * b.usage.end
            let right = b.usage.used * a.usage.end
            if left != right { return left < right }
            return a.key < b.key
        }
        var plan = RebundlePlan()
        var files = 0
        var bytes: UInt64 = 0
        func take(_ key: ContentKey, _ usage: Usage) -> Bool {
            guard files + usage.files <= limits.files, bytes + usage.used <= limits.bytes else { return false }
            files += usage.files
            bytes += usage.used
            plan.blobs.insert(key)
            return true
        }
        for (key, usage) in wasted where !take(key, usage) { break }
        if alone.count >= RebundlePlanner.aloneFiles, aloneBytes >= RebundlePlanner.aloneBytes {
            // The smallest first: each costs a blob whatever its length.
            alone.sort { a, b in a.usage.used != b.usage.used ? a.usage.used < b.usage.used : a.key < b.key }
            for (key, usage) in alone where !take(key, usage) { break }
        }
        return plan
    }
}

/// The blobs whose small files the next run reads and bundles again, as if they had changed.
package struct RebundlePlan: Hashable, Sendable {
    /// Most blobs in a plan that is read from disk.
    private static let maximumBlobs = 1 << 16

    fileprivate(set) var blobs: Set<ContentKey> = []

    package init() {}

    package var isEmpty: Bool { blobs.isEmpty }
    /// How many blobs are to be replaced.
    package var count: Int { blobs.count }

    /// Whether this unchanged file is to be read and bundled again.
    package func includes(_ entry: borrowing Entry) -> Bool {
        if blobs.isEmpty { return false }
        guard let key = RebundlePlanner.slice(of: entry)?.key else { return false }
        return blobs.contains(key)
    }

    /// For the writer's cache: `u8 version (1) ‖ varint count ‖ count x digest`, sorted. Holds content keys: it belongs
    /// where the cache is, readable by root alone.
    package func encoded() -> [UInt8] {
        var writer = ByteWriter(capacity: 8 + 32 * blobs.count)
        writer.u8(1)
        writer.varint(blobs.count)
        for key in blobs.sorted() { writer.digest(key.bytes) }
        return writer.bytes
    }

    /// Reads what `encoded` wrote; anything else throws `.damaged`, and an empty plan does instead.
    package static func decode(_ bytes: [UInt8]) throws -> RebundlePlan {
        try bytes.withUnsafeBytes { bytes in
            var reader = ByteReader(bytes)
            guard try reader.u8() == 1 else { throw ByteReader.malformed("version of a plan") }
            let count = try reader.varint(atMost: min(reader.remaining / 32, maximumBlobs))
            var plan = RebundlePlan()
            var previous: ContentKey?
            for _ in 0..<count {
                let key = ContentKey(try reader.digest())
                if let previous, key <= previous { throw ByteReader.malformed("a plan out of order") }
                previous = key
                plan.blobs.insert(key)
            }
            try reader.end()
            return plan
        }
    }
}
