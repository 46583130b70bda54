package import Model

/// Reading framed blobs, with a second try where there is a second copy.
extension LocalVault {
    /// Largest gap between two blobs of a pack that is read with them, and most bytes of one read: a seek on a disk costs
    /// about as much as reading 256 KiB, and readers stay within small buffers.
    private static let readGap: UInt64 = 64 << 10
    private static let readLength: UInt64 = 4 << 20

    package func read(_ ids: [BlobID], _ body: (BlobID, UnsafeRawBufferPointer) throws -> Void) throws {
        var wanted = Set(ids)
        // A collection may move blobs between the question where they lie and the reading: then the question is asked
        // again. Copies that failed are not tried twice.
        var failed: Set<CopyReference> = []
        var damaged: [CopyReference: BlobCondition] = [:]
        defer { record(damaged) }
        while !wanted.isEmpty {
            let copies = try bestCopies(of: Array(wanted), without: failed)
            if copies.isEmpty { break }
            for run in LocalVault.runs(copies) {
                try readRun(run, wanted: &wanted, failed: &failed, damaged: &damaged, body)
            }
        }
        if !wanted.isEmpty {
            var error = HoldfastError(
                .damaged,
                "\(wanted.count) blobs are damaged or lost in the vault; run `holdfast vault verify` to see what is touched, "
                    + "and back up again to heal what the machines still have")
            error.blobs = wanted.sorted()
            throw error
        }
    }

    /// One of the copies of a blob, for a reader far away whom the first one did not open for; `nil` when there are not so
    /// many. Nothing is noted: that a copy does not open is only the reader's word.
    ///
    /// - Parameter number: from 0, in the order in which `read` tries them.
    package func copy(_ number: Int, of id: BlobID) throws -> [UInt8]? {
        var skipped: Set<CopyReference> = []
        var found = 0
        while let copy = try bestCopies(of: [id], without: skipped).first {
            skipped.insert(copy.reference)
            guard let bytes = try? store.get(StoreKey.pack(copy.packName), copy.range),
                (try? bytes.withUnsafeBytes({ try LocalVault.check($0, is: copy) })) != nil
            else { continue }
            if found == number { return bytes }
            found += 1
        }
        return nil
    }

    private func record(_ damaged: [CopyReference: BlobCondition]) {
        // Knowing of the damage helps the next backup and verification; failing to note it must not stop a restore.
        for (condition, copies) in Dictionary(grouping: damaged, by: \.value) {
            _ = try? catalog.setCondition(condition, of: copies.map(\.key))
        }
    }

    /// The copy of each blob to be tried next, in pack order: whole ones first, then incomplete and damaged ones.
    private func bestCopies(of ids: [BlobID], without failed: Set<CopyReference>) throws -> [BlobCopy] {
        func rank(_ copy: BlobCopy) -> Int {
            switch copy.condition {
            case .whole: 0
            case .incomplete: 1
            case .damaged: 2
            case .falseContents: 3
            }
        }
        var best: [BlobID: BlobCopy] = [:]
        for copy in try catalog.copies(of: ids) where !failed.contains(copy.reference) {
            if let other = best[copy.id], rank(other) <= rank(copy) { continue }
            best[copy.id] = copy
        }
        return best.values.sorted { a, b in a.pack != b.pack ? a.pack < b.pack : a.offset < b.offset }
    }

    /// Splits copies, sorted by pack and offset, into runs that are read in one piece.
    static func runs(_ copies: [BlobCopy]) -> [ArraySlice<BlobCopy>] {
        var runs: [ArraySlice<BlobCopy>] = []
        var start = 0
        for index in copies.indices {
            let copy = copies[index]
            if index > start {
                let last = copies[index - 1]
                let fits =
                    copy.pack == last.pack && copy.offset >= last.range.upperBound
                    && copy.offset - last.range.upperBound <= readGap
                    && copy.range.upperBound - copies[start].offset <= readLength
                if !fits {
                    runs.append(copies[start..<index])
                    start = index
                }
            }
        }
        if start < copies.count { runs.append(copies[start...]) }
        return runs
    }

    private func readRun(
        _ run: ArraySlice<BlobCopy>, wanted: inout Set<BlobID>, failed: inout Set<CopyReference>,
        damaged: inout [CopyReference: BlobCondition], _ body: (BlobID, UnsafeRawBufferPointer) throws -> Void
    ) throws {
        guard let first = run.first, let last = run.last else { return }
        let range = first.offset..<last.range.upperBound
        let bytes: [UInt8]
        do {
            bytes = try store.get(StoreKey.pack(first.packName), range)
        } catch let error as HoldfastError where run.count > 1 && error.code != .notFound {
            // One bad sector must not take its neighbours with it.
            for copy in run {
                try readRun([copy], wanted: &wanted, failed: &failed, damaged: &damaged, body)
            }
            return
        } catch let error as HoldfastError {
            if error.isTemporary, error.code != .damaged, error.code != .io { throw error }
            for copy in run { failed.insert(copy.reference) }
            // An object that is gone may have been moved by a collection, and an error of the medium may pass: neither is
            // damage of this copy for good. Verification tells.
            if error.code == .damaged { for copy in run { damaged[copy.reference] = .damaged } }
            return
        }
        try bytes.withUnsafeBytes { buffer in
            for copy in run {
                let start = Int(copy.offset - range.lowerBound)
                let framed = UnsafeRawBufferPointer(rebasing: buffer[start..<(start + copy.framedLength)])
                var isIntact = false
                do {
                    try LocalVault.check(framed, is: copy)
                    isIntact = true
                    try body(copy.id, framed)
                    wanted.remove(copy.id)
                } catch let error as HoldfastError where error.code == .misnamed {
                    // Says nothing about the copy, which others may need.
                    failed.insert(copy.reference)
                } catch let error as HoldfastError where error.code == .damaged {
                    failed.insert(copy.reference)
                    // Bytes that are what was stored and do not open were bad from the beginning.
                    damaged[copy.reference] = isIntact ? .falseContents : .damaged
                }
            }
        }
    }

    /// Whether an error says that something stored cannot be read, now or for good, and nothing about the rest.
    static func isAboutReading(_ error: HoldfastError) -> Bool {
        error.code == .damaged || error.code == .notFound || error.code == .io
    }

    /// Throws `damaged` unless `framed` is the blob that the catalog says and its checksum is right.
    static func check(_ framed: UnsafeRawBufferPointer, is copy: BlobCopy) throws {
        let frame = try BlobFrame(framed)
        guard frame.id == copy.id, frame.type == copy.type, frame.isIntact(framed) else {
            throw HoldfastError(.damaged, "a blob is damaged", context: ["blob": copy.id.hex])
        }
    }

    /// The ids that a stored blob names, read without its contents. With `checking` the whole blob's checksum is computed.
    func references(of copy: BlobCopy, checking: Bool) throws -> [BlobID] {
        if copy.referenceCount == 0 { return [] }
        let length = checking ? copy.framedLength : BlobFrame.headerLength + 32 * copy.referenceCount
        let bytes = try store.get(StoreKey.pack(copy.packName), copy.offset..<(copy.offset + UInt64(length)))
        return try bytes.withUnsafeBytes { buffer in
            let frame = try BlobFrame(buffer)
            guard frame.id == copy.id, frame.type == copy.type, frame.referenceCount == copy.referenceCount,
                !checking || frame.isIntact(buffer)
            else { throw HoldfastError(.damaged, "a blob is damaged", context: ["blob": copy.id.hex]) }
            return try frame.references(in: buffer)
        }
    }
}
