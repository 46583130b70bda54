import Model

/// Adopting what the store has and the catalog does not know. Nothing is relied upon before its signature was checked.
extension LocalVault {
    /// Registers packs that were found in the store: data first, then what names it, then points.
    func adopt(_ names: [PackName], checksNames: Bool, _ result: inout Comparison) throws {
        var meta: [(name: PackName, size: UInt64)] = []
        var records: [(name: PackName, size: UInt64)] = []
        for name in names {
            guard let size = try store.head(StoreKey.pack(name)) else { continue }
            do {
                switch try packClass(of: name, size: size) {
                case .data: try adoptBlobs(name, size: size, checksName: checksNames, &result)
                case .meta: meta.append((name, size))
                case .points: records.append((name, size))
                }
            } catch let error as HoldfastError where isAboutThePack(error) {
                try setAside(name, size: size, error, &result)
            }
        }
        for (name, size) in meta {
            do {
                try adoptBlobs(name, size: size, checksName: checksNames, &result)
            } catch let error as HoldfastError where isAboutThePack(error) {
                try setAside(name, size: size, error, &result)
            }
        }
        if !meta.isEmpty { try reviewIncomplete() }
        try adoptRecords(records, &result)
    }

    /// Whether an error says something about one pack and not about store or catalog as a whole.
    func isAboutThePack(_ error: HoldfastError) -> Bool {
        switch error.code {
        case .damaged, .unsupported, .notFound, .condemned: return true
        // A bad sector: the store itself answers.
        case .io: return (try? store.get(StoreKey.config, atMost: 1 << 20)) != nil
        default: return false
        }
    }

    // MARK: Packs that cannot be read

    /// Notes a pack that cannot be read. Unless it is known to hold no records, points may be hidden in it: then the catalog
    /// gets a row of class points that says that something is missing. Collection stops at such a row, and every
    /// comparison looks at the pack again.
    private func setAside(
        _ name: PackName, size: UInt64, _ error: HoldfastError, _ result: inout Comparison
    ) throws {
        result.unreadable.append((name, error.message))
        // Removed meanwhile, or about to be: a collection knew what was in it.
        if error.code == .condemned || error.code == .notFound { return }
        let known = try catalog.pack(name)
        if let known, known.packClass != .points { return }
        if known == nil, holdsNoRecords(name, size: size) { return }
        let found = try known.map { try catalog.records(inPack: $0.number).count } ?? 0
        let entry = PackEntry(
            name: name, packClass: .points, origin: known?.origin ?? WriterID(high: 0, low: 0),
            bytes: min(size, UInt64(FormatLimits.packLength)), blobCount: max(found + 1, known?.blobCount ?? 0))
        try catalog.adopt(StoredRecordPack(pack: entry, records: []), now: clock())
    }

    /// Whether two things say that a pack holds data or nodes, and nothing says otherwise: no single flipped bit makes that
    /// of a pack of records. A pack of another vault, as its name proves, holds no records of this one.
    private func holdsNoRecords(_ name: PackName, size: UInt64) -> Bool {
        if let start = try? start(of: name, size: size), let header = start.header, header.packClass != .points,
            header.vault == vault, start.first?.packClass == header.packClass
        {
            return true
        }
        guard let bytes = try? store.get(StoreKey.pack(name), atMost: FormatLimits.packLength) else { return false }
        return bytes.withUnsafeBytes { buffer in
            if let header = try? PackHeader(buffer), header.vault != vault, BlobCrypto.packName(of: buffer) == name {
                return true
            }
            let blobs = PackReader.scan(buffer, vault: vault, believesHeader: false).blobs
            return !blobs.isEmpty && blobs.allSatisfy { $0.type.packClass != .points }
        }
    }

    /// The header of a pack and the type of its first blob, as far as they can be told.
    private func start(
        of name: PackName, size: UInt64
    ) throws -> (header: PackHeader?, first: BlobType?, failure: HoldfastError?) {
        let length = PackHeader.length + BlobFrame.headerLength
        guard size >= UInt64(length) else { throw ByteReader.malformed("cut short") }
        let bytes = try store.get(StoreKey.pack(name), 0..<UInt64(length))
        return bytes.withUnsafeBytes { buffer in
            let first = BlobFrame(plausible: UnsafeRawBufferPointer(rebasing: buffer[PackHeader.length...]))?.type
            do { return (try PackHeader(buffer), first, nil) } catch { return (nil, first, error as? HoldfastError) }
        }
    }

    private func packClass(of name: PackName, size: UInt64) throws -> PackClass {
        let (header, first, failure) = try start(of: name, size: size)
        if let header, header.vault == vault, first.map({ $0.packClass == header.packClass }) ?? true {
            return header.packClass
        }
        // A flipped bit in the header must not hide what the pack holds.
        let bytes = try store.get(StoreKey.pack(name), atMost: FormatLimits.packLength)
        let found = bytes.withUnsafeBytes { buffer -> PackClass? in
            if BlobCrypto.packName(of: buffer) == name { return nil }
            let classes = Set(
                PackReader.scan(buffer, vault: vault, believesHeader: false).blobs.map(\.type.packClass))
            return classes.count == 1 ? classes.first : nil
        }
        if let found { return found }
        if let header, header.vault != vault {
            throw HoldfastError(.damaged, "it belongs to another vault", context: ["vault": header.vault.hex])
        }
        guard let header else { throw failure ?? ByteReader.malformed("header of a pack") }
        return header.packClass
    }

    private func adoptBlobs(_ name: PackName, size: UInt64, checksName: Bool, _ result: inout Comparison) throws {
        var isIntact = true
        if checksName {
            let bytes = try store.get(StoreKey.pack(name), atMost: FormatLimits.packLength)
            isIntact = bytes.withUnsafeBytes { BlobCrypto.packName(of: $0) } == name
        }
        if isIntact {
            do {
                let pack = try PackIndexReader.read(name, from: store, vault: vault)
                try register(pack.blobs, of: name, pack.header, size: size)
                result.adopted += 1
                return
            } catch let error as HoldfastError where error.code == .damaged {
                // What is left of it is looked for below.
            }
        }
        let bytes = try store.get(StoreKey.pack(name), atMost: FormatLimits.packLength)
        let scanned = bytes.withUnsafeBytes { PackReader.scan($0, vault: vault) }
        guard let header = scanned.header, !scanned.blobs.isEmpty else {
            throw HoldfastError(.damaged, "it is damaged, and nothing in it could be saved")
        }
        try register(scanned.blobs, of: name, header, size: size)
        result.adopted += 1
        result.unreadable.append(
            (
                name,
                "it is damaged; \(scanned.blobs.count) of its blobs could be saved, \(scanned.lostBytes) bytes are lost"
            ))
    }

    private func register(_ blobs: [PackedBlob], of name: PackName, _ header: PackHeader, size: UInt64) throws {
        let entry = PackEntry(
            name: name, packClass: header.packClass, origin: header.writer, bytes: size, blobCount: blobs.count)
        try catalog.register(entry, blobs: blobs, lease: nil)
    }

    // MARK: Records

    /// Points are relied upon only when the machine's key says so, and machines only when the vault's key does: so machines
    /// come first, from all packs.
    private func adoptRecords(_ packs: [(name: PackName, size: UInt64)], _ result: inout Comparison) throws {
        if packs.isEmpty { return }
        var machines = try knownMachines()
        var readable: [(name: PackName, size: UInt64)] = []
        var hasNewMachine = false
        for (name, size) in packs {
            do {
                let found = try signedMachines(in: name)
                machines += found
                hasNewMachine = hasNewMachine || !found.isEmpty
                readable.append((name, size))
            } catch let error as HoldfastError where isAboutThePack(error) {
                try setAside(name, size: size, error, &result)
            }
        }
        let signers = PointSigners(machines, of: config.signing)
        var stored: [StoredRecordPack] = []
        for (name, size) in readable {
            do {
                stored.append(try recordPack(name, size: size, signers, &result))
            } catch let error as HoldfastError where isAboutThePack(error) {
                try setAside(name, size: size, error, &result)
            }
        }
        // Machines before points, points in the order of their numbers, redactions after the points that they change.
        func rank(_ pack: StoredRecordPack) -> (Int, UInt64) {
            let types = Set(pack.records.map(\.type))
            if types.contains(.redaction) { return (2, 0) }
            return (types.contains(.point) ? 1 : 0, pack.records.compactMap(\.point?.number).min() ?? 0)
        }
        var points: Set<PointID> = []
        let sorted = stored.sorted { rank($0) < rank($1) }
        for start in stride(from: 0, to: sorted.count, by: VaultLimits.collectionBatch) {
            let batch = Array(sorted[start..<min(start + VaultLimits.collectionBatch, sorted.count)])
            result.adopted += try catalog.packs(batch.map(\.pack.name)).count { $0?.state != .stored }
            try catalog.adopt(batch, now: clock())
            for pack in batch { points.formUnion(pack.records.compactMap(\.point?.id)) }
        }
        result.pointsFound += points.count
        if hasNewMachine { try reconsiderOutsiders(signers) }
        try applyRedactions(of: points)
        if !points.isEmpty || hasNewMachine { try reviewPoints() }
    }

    /// The readable records of machines that the catalog knows of. All were checked when they were registered.
    private func knownMachines() throws -> [MachineRecord] {
        try catalog.records(of: .machine).compactMap { location in
            try? withRecord(location) { try MachineRecord.decode($0) }
        }
    }

    private func signedMachines(in name: PackName) throws -> [MachineRecord] {
        try forEachRecord(of: name) { blob, framed in
            guard blob.type == .machine, let body = try? BlobOpener.record(framed, expecting: .machine),
                let record = try? MachineRecord.decode(body), (try? record.verify(with: config.signing)) != nil
            else { return nil }
            return record
        }.records
    }

    /// The records of a pack, and how many there should be.
    private struct FoundRecords<R> {
        var records: [R] = []
        var writer: WriterID
        /// How many there were before any damage, as far as that can be told: more than were found when some may be missing.
        var listed: Int
        var lostBytes: Int
        /// The bytes are those that were stored.
        var isIntact: Bool
    }

    /// Hands the intact records of a pack to `body`, and answers what it makes of them. Each record carries a checksum and a
    /// signature of its own, so a damaged header takes none of them away.
    private func forEachRecord<R>(
        of name: PackName, _ body: (PackedBlob, UnsafeRawBufferPointer) throws -> R?
    ) throws -> FoundRecords<R> {
        let bytes = try store.get(StoreKey.pack(name), atMost: FormatLimits.packLength)
        return try bytes.withUnsafeBytes { buffer in
            let isIntact = BlobCrypto.packName(of: buffer) == name
            let pack = PackReader.scan(buffer, vault: vault, believesHeader: isIntact)
            if isIntact, pack.header == nil { throw ByteReader.malformed("header of a pack") }
            var found: [R] = []
            for blob in pack.blobs where blob.type.packClass == .points {
                let framed = UnsafeRawBufferPointer(
                    rebasing: buffer[Int(blob.offset)..<Int(blob.range.upperBound)])
                if let made = try body(blob, framed) { found.append(made) }
            }
            // How many there were before any damage: as the end of the pack says, else at least one more.
            var listed = pack.blobs.count + (pack.lostBytes > 0 ? 1 : 0)
            if buffer.count >= PackTrailer.length {
                let tail = UnsafeRawBufferPointer(rebasing: buffer[(buffer.count - PackTrailer.length)...])
                if let trailer = try? PackTrailer(tail, packLength: buffer.count) {
                    listed = max(pack.blobs.count, trailer.count)
                }
            }
            // Nor does what is left say what was cut off.
            if !isIntact { listed = max(listed, pack.blobs.count + 1) }
            return FoundRecords(
                records: found, writer: pack.header?.writer ?? WriterID(high: 0, low: 0), listed: listed,
                lostBytes: pack.lostBytes, isIntact: isIntact)
        }
    }

    /// What the catalog is to know of a pack of records. One that cannot be read takes no other with it.
    private func recordPack(
        _ name: PackName, size: UInt64, _ signers: PointSigners, _ result: inout Comparison
    ) throws -> StoredRecordPack {
        var flawed = 0
        var unsigned: [String] = []
        var reasons: [String] = []
        let pack = try forEachRecord(of: name) { blob, framed -> RecordEntry? in
            do {
                var entry = try RecordEntry(blob, framed: framed)
                if blob.type == .point {
                    let point = try SealedPoint.decode(BlobOpener.record(framed, expecting: .point))
                    if let text = fault(of: point, signers) {
                        unsigned.append(text)
                        entry.isSigned = false
                    }
                } else if let text = try flaw(of: blob, framed: framed) {
                    flawed += 1
                    unsigned.append(text)
                    return nil
                }
                return entry
            } catch let error as HoldfastError where isAboutThePack(error) {
                reasons.append("a record in it cannot be read: \(error.message)")
                return nil
            }
        }
        if pack.lostBytes > 0 { reasons.append("\(pack.lostBytes) bytes of it, with records of points, are damaged") }
        if !pack.isIntact, reasons.isEmpty {
            reasons.append("its bytes are not those that were stored; records of points may be missing from it")
        }
        result.unsigned += unsigned
        result.unreadable += reasons.map { (name, $0) }
        let entry = PackEntry(
            name: name, packClass: .points, origin: pack.writer, bytes: size,
            blobCount: max(0, pack.listed - flawed))
        return StoredRecordPack(pack: entry, records: pack.records)
    }

    /// What is wrong with a record that the vault itself must have signed; `nil` for a sound one.
    private func flaw(of blob: PackedBlob, framed: UnsafeRawBufferPointer) throws -> String? {
        let body = try BlobOpener.record(framed, expecting: blob.type)
        do {
            switch blob.type {
            case .machine: try MachineRecord.decode(body).verify(with: config.signing)
            case .hold: try HoldRecord.decode(body).verify(with: config.signing)
            case .redaction: try RedactionRecord.decode(body).verify(with: config.signing)
            default: break
            }
            return nil
        } catch let error as HoldfastError where error.code == .damaged {
            return "a record found in the vault is not relied upon: \(error.message)"
        }
    }

    /// Why a point is not relied upon; `nil` when its machine signed it.
    private func fault(of point: SealedPoint, _ signers: PointSigners) -> String? {
        let locator = point.locator
        guard locator.vault == vault else { return "point \(locator.point.hex) is of another vault" }
        guard signers.hasRecord(of: locator.machine) else {
            return "point \(locator.point.hex) is of a machine that the vault does not know"
        }
        do { try signers.verify(point) } catch {
            return "point \(locator.point.hex) is not signed by its machine"
        }
        return nil
    }

    /// Points outside their chains may be there because their machine's record was not found until now.
    private func reconsiderOutsiders(_ signers: PointSigners) throws {
        for point in try catalog.points(PointQuery(), now: clock()) where point.condition == .outOfChain {
            for location in try catalog.records(of: point.id) {
                guard let pack = try catalog.pack(location.packName),
                    let sealed = try? withRecord(location, { try SealedPoint.decode($0) }),
                    fault(of: sealed, signers) == nil
                else { continue }
                var entry = RecordEntry(
                    id: location.id, type: .point, subject: location.subject, time: location.time,
                    offset: location.offset, length: location.length)
                entry.point = PointEntry(sealed)
                try catalog.adopt(StoredRecordPack(pack: pack, records: [entry]), now: clock())
                break
            }
        }
    }

    /// Redactions that were known before their point was found.
    private func applyRedactions(of points: Set<PointID>) throws {
        for location in try catalog.records(of: .redaction) {
            guard let point = PointID(location.subject), points.contains(point),
                let pack = try catalog.pack(location.packName),
                let redaction = try? withRecord(location, { try RedactionRecord.decode($0) })
            else { continue }
            let entry = RecordEntry(
                id: location.id, type: .redaction, subject: location.subject, time: location.time,
                offset: location.offset, length: location.length, references: redaction.references)
            try catalog.adopt(StoredRecordPack(pack: pack, records: [entry]), now: clock())
        }
    }
}
