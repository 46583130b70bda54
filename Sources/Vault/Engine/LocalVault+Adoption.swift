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
                result.unreadable.append((name, error.message))
            }
        }
        for (name, size) in meta {
            do {
                try adoptBlobs(name, size: size, checksName: checksNames, &result)
            } catch let error as HoldfastError where isAboutThePack(error) {
                result.unreadable.append((name, error.message))
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

    private func packClass(of name: PackName, size: UInt64) throws -> PackClass {
        guard size >= UInt64(PackHeader.length) else { throw ByteReader.malformed("cut short") }
        let bytes = try store.get(StoreKey.pack(name), 0..<UInt64(PackHeader.length))
        let header = try bytes.withUnsafeBytes { try PackHeader($0) }
        guard header.vault == vault else {
            throw HoldfastError(.damaged, "it belongs to another vault", context: ["vault": header.vault.hex])
        }
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
                for record in found { machines[record.machine, default: []].append(record) }
                hasNewMachine = hasNewMachine || !found.isEmpty
                readable.append((name, size))
            } catch let error as HoldfastError where isAboutThePack(error) {
                result.unreadable.append((name, error.message))
            }
        }
        var stored: [StoredRecordPack] = []
        for (name, size) in readable {
            do {
                stored.append(try recordPack(name, size: size, machines, &result))
            } catch let error as HoldfastError where isAboutThePack(error) {
                result.unreadable.append((name, error.message))
            }
        }
        // Machines before points, points in the order of their numbers, redactions after the points that they change.
        func rank(_ pack: StoredRecordPack) -> (Int, UInt64) {
            let types = Set(pack.records.map(\.type))
            if types.contains(.redaction) { return (2, 0) }
            return (types.contains(.point) ? 1 : 0, pack.records.compactMap(\.point?.number).min() ?? 0)
        }
        var points: Set<PointID> = []
        for pack in stored.sorted(by: { rank($0) < rank($1) }) {
            if try catalog.pack(pack.pack.name)?.state != .stored { result.adopted += 1 }
            try catalog.adopt(pack, now: clock())
            points.formUnion(pack.records.compactMap(\.point?.id))
        }
        result.pointsFound += points.count
        if hasNewMachine { try reconsiderOutsiders(machines) }
        try applyRedactions(of: points)
        if !points.isEmpty || hasNewMachine { try reviewPoints() }
    }

    /// The readable records of machines that the catalog knows of. All were checked when they were registered.
    private func knownMachines() throws -> [MachineID: [MachineRecord]] {
        var result: [MachineID: [MachineRecord]] = [:]
        for location in try catalog.records(of: .machine) {
            guard let record = try? withRecord(location, { try MachineRecord.decode($0) }) else { continue }
            result[record.machine, default: []].append(record)
        }
        return result
    }

    private func signedMachines(in name: PackName) throws -> [MachineRecord] {
        try forEachRecord(of: name) { blob, framed in
            guard blob.type == .machine, let body = try? BlobOpener.record(framed, expecting: .machine),
                let record = try? MachineRecord.decode(body), (try? record.verify(with: config.signing)) != nil
            else { return nil }
            return record
        }.found
    }

    /// Hands the intact records of a pack to `body`, and answers what it makes of them.
    private func forEachRecord<R>(
        of name: PackName, _ body: (PackedBlob, UnsafeRawBufferPointer) throws -> R?
    ) throws -> (found: [R], header: PackHeader, listed: Int, lostBytes: Int) {
        let bytes = try store.get(StoreKey.pack(name), atMost: FormatLimits.packLength)
        return try bytes.withUnsafeBytes { buffer in
            let pack = PackReader.scan(buffer, vault: vault)
            guard let header = pack.header else { throw ByteReader.malformed("header of a pack") }
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
            return (found, header, listed, pack.lostBytes)
        }
    }

    /// What the catalog is to know of a pack of records. One that cannot be read takes no other with it.
    private func recordPack(
        _ name: PackName, size: UInt64, _ machines: [MachineID: [MachineRecord]], _ result: inout Comparison
    ) throws -> StoredRecordPack {
        var flawed = 0
        var unsigned: [String] = []
        var reasons: [String] = []
        let pack = try forEachRecord(of: name) { blob, framed -> RecordEntry? in
            do {
                var entry = try RecordEntry(blob, framed: framed)
                if blob.type == .point {
                    let point = try SealedPoint.decode(BlobOpener.record(framed, expecting: .point))
                    if let text = fault(of: point, machines) {
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
        result.unsigned += unsigned
        result.unreadable += reasons.map { (name, $0) }
        let entry = PackEntry(
            name: name, packClass: .points, origin: pack.header.writer, bytes: size,
            blobCount: max(0, pack.listed - flawed))
        return StoredRecordPack(pack: entry, records: pack.found)
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
    private func fault(of point: SealedPoint, _ machines: [MachineID: [MachineRecord]]) -> String? {
        let locator = point.locator
        guard locator.vault == vault else { return "point \(locator.point.hex) is of another vault" }
        guard let records = machines[locator.machine], !records.isEmpty else {
            return "point \(locator.point.hex) is of a machine that the vault does not know"
        }
        do { try point.verify(withAnyOf: records, of: config.signing) } catch {
            return "point \(locator.point.hex) is not signed by its machine"
        }
        return nil
    }

    /// Points outside their chains may be there because their machine's record was not found until now.
    private func reconsiderOutsiders(_ machines: [MachineID: [MachineRecord]]) throws {
        for point in try catalog.points(PointQuery(), now: clock()) where point.condition == .outOfChain {
            for location in try catalog.records(of: point.id) {
                guard let pack = try catalog.pack(location.packName),
                    let sealed = try? withRecord(location, { try SealedPoint.decode($0) }),
                    fault(of: sealed, machines) == nil
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
