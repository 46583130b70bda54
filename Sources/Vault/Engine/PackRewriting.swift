import Model

/// Copies what lives in packs of one machine and class into new packs, verbatim and in the order in which it lies.
struct PackRewriting {
    let vault: LocalVault
    let packs: [PackEntry]

    /// Old packs all of whose live blobs are in new packs that are being or were stored, with the list of their blobs.
    private var copied: [(number: Int64, ids: [BlobID])] = []
    /// The pack that each blob in the builder was copied from.
    private var sources: [BlobID: Int64] = [:]

    init(vault: LocalVault, packs: [PackEntry]) {
        self.vault = vault
        self.packs = packs
    }

    // MARK: Choice

    /// Whether a pack is mostly dead or small.
    static func isCandidate(_ pack: PackEntry) -> Bool {
        isMostlyDead(pack) || pack.bytes < UInt64(VaultLimits.smallPack)
    }

    private static func isMostlyDead(_ pack: PackEntry) -> Bool {
        pack.liveBytes <= pack.bytes / 100 * UInt64(VaultLimits.livePercent)
    }

    /// Groups of packs that are worth rewriting together: mostly dead ones always, small ones when they make a pack that is
    /// not small or are many, so that no blob is copied at every collection.
    static func groups(of candidates: [PackEntry]) -> [[PackEntry]] {
        struct Group: Hashable {
            let origin: WriterID
            let packClass: PackClass
        }
        let groups = Dictionary(grouping: candidates) { Group(origin: $0.origin, packClass: $0.packClass) }
        return groups.values.compactMap { members in
            let sorted = members.sorted { $0.number < $1.number }
            let live = sorted.reduce(0) { $0 + $1.liveBytes }
            let isWorthIt =
                sorted.contains(where: isMostlyDead) || sorted.count >= 8
                || (sorted.count >= 2 && live >= UInt64(VaultLimits.smallPack))
            return isWorthIt ? sorted : nil
        }.sorted { $0[0].number < $1[0].number }
    }

    // MARK: Copying

    mutating func run(_ options: CollectionOptions, _ report: inout CollectionReport) throws {
        guard let first = packs.first else { return }
        func makeBuilder() -> PackBuilder {
            PackBuilder(vault: vault.vault, writer: first.origin, packClass: first.packClass)
        }
        var builder = makeBuilder()
        for pack in packs {
            try options.checkpoint()
            guard let (ids, live) = try contents(of: pack, &report) else { continue }
            var isCopied = true
            for run in LocalVault.runs(live) {
                guard let start = run.first?.offset, let end = run.last?.range.upperBound else { continue }
                let bytes: [UInt8]
                do {
                    bytes = try vault.store.get(StoreKey.pack(pack.name), start..<end)
                } catch let error as HoldfastError where LocalVault.isAboutReading(error) {
                    // One bad sector must not keep all the others from being freed. The pack stays as it is.
                    report.unreadable.append((pack.name, error.message))
                    isCopied = false
                    break
                }
                for copy in run {
                    if builder.isFull {
                        try replace(with: builder, first, &report)
                        builder = makeBuilder()
                    }
                    if builder.contains(copy.id) { continue }
                    let offset = Int(copy.offset - start)
                    let isRight = try bytes.withUnsafeBytes { buffer in
                        let framed = UnsafeRawBufferPointer(rebasing: buffer[offset..<(offset + copy.framedLength)])
                        do { try LocalVault.check(framed, is: copy) } catch { return false }
                        let frame = try BlobFrame(framed)
                        let blob = PackedBlob(
                            id: frame.id, type: frame.type, encoding: frame.encoding, secretNumber: frame.secretNumber,
                            references: try frame.references(in: framed), sealedLength: UInt32(frame.sealedLength),
                            offset: 0)
                        try builder.append(framed, blob)
                        sources[copy.id] = pack.number
                        return true
                    }
                    if !isRight {
                        // The pack stays as it is: a damaged blob is healed by the next backup, not copied.
                        try vault.catalog.setCondition(.damaged, of: [copy.reference])
                        isCopied = false
                    }
                }
            }
            if isCopied { copied.append((pack.number, ids)) }
        }
        try replace(with: builder, first, &report)
    }

    /// The blobs of a pack, and its live copies in order; `nil` when the pack is to be left alone.
    private func contents(
        of pack: PackEntry, _ report: inout CollectionReport
    ) throws -> (ids: [BlobID], live: [BlobCopy])? {
        // The same packs are rewritten again where the first try ended for want of room: some of them are gone by now.
        guard try vault.catalog.pack(pack.name)?.state == .stored else { return nil }
        let listed: [BlobID]
        do {
            listed = try PackIndexReader.read(pack.name, from: vault.store, vault: vault.vault).blobs.map(\.id)
        } catch let error as HoldfastError where LocalVault.isAboutReading(error) {
            report.unreadable.append((pack.name, error.message))
            return nil
        }
        let floor = try vault.catalog.position().floor
        var live: [BlobCopy] = []
        for start in stride(from: 0, to: listed.count, by: VaultLimits.collectionBatch) {
            let batch = Array(listed[start..<min(start + VaultLimits.collectionBatch, listed.count)])
            live += try vault.catalog.copies(of: batch).filter { $0.pack == pack.number && $0.mark >= floor }
        }
        guard !live.contains(where: { $0.condition == .damaged }) else { return nil }
        return (listed, live.sorted { $0.offset < $1.offset })
    }

    /// Stores what was collected, and condemns the old packs that are wholly copied.
    private mutating func replace(
        with builder: consuming PackBuilder, _ first: PackEntry, _ report: inout CollectionReport
    ) throws {
        if builder.isEmpty { return }
        var pack = try builder.finish()
        // The same blobs in the same order may have made a pack before: that one may be condemned by now, and is not to be
        // taken for this one.
        for _ in pack.blobs where try vault.catalog.pack(pack.name) != nil {
            pack = try pack.reordered(in: vault.vault)
        }
        if try vault.catalog.pack(pack.name) != nil { pack = PackRewriting.renamed(pack) }
        try vault.put(pack)
        let entry = PackEntry(
            name: pack.name, packClass: pack.packClass, origin: first.origin, bytes: UInt64(pack.bytes.count),
            blobCount: pack.blobs.count)
        let moved = pack.blobs.map { MovedBlob(blob: $0, source: sources[$0.id] ?? 0) }
        let condemned = Set(try vault.catalog.replacePacks(copied, with: entry, blobs: moved))
        sources = [:]
        copied.removeAll { condemned.contains($0.number) }
        report.newPacks += 1
        report.rewrittenPacks += condemned.count
        let added = UInt64(pack.bytes.count)
        let freed = try vault.deleteCondemned()
        report.freedBytes = report.freedBytes + freed > added ? report.freedBytes + freed - added : 0
    }

    /// The same pack under another name: with a writer of its own in the header. For a single blob, which has no other order;
    /// after a rebuild of the catalog it is nobody's, and its machine sends it again once.
    private static func renamed(_ pack: SealedPack) -> SealedPack {
        let writer = WriterID.random()
        var bytes = pack.bytes
        let start = PackHeader.length - 16
        bytes.replaceSubrange(start..<PackHeader.length, with: writer.array)
        return SealedPack(
            name: bytes.withUnsafeBytes { BlobCrypto.packName(of: $0) }, bytes: bytes, packClass: pack.packClass,
            writer: writer, blobs: pack.blobs)
    }
}
