import Catalog
import Client
import Model
import Vault

/// The engine's interface, `VaultService`, for writers and readers.
enum VaultOperations {
    private static let base = "/api/v1/vaults/{vault}"
    private static let leaseFailure = (status: 409, meaning: "The lease has ended: open another.")
    private static let leaseQuery = (name: "lease", meaning: "The lease under which it is done.")

    static let all: [Operation] = leases + writing + reading

    private static let leases: [Operation] = [
        Operation(
            "POST", base + "/leases", "Claims the vault for a writer or a reader.", tag: "vault",
            access: .machineOr(.seeContents), request: .json("LeaseRequest"), response: .json("Lease"), status: 201
        ) { core, request in
            try core.requireVault(request)
            let wanted = try VaultMessages.leaseRequest(request.body)
            var holder: MachineID?
            switch wanted.purpose {
            case .writer(let machine, _, _):
                guard try request.machine() == machine else {
                    throw HoldfastError(.denied, "a machine writes for itself only")
                }
                holder = machine
            case .reader(let points):
                if case .machine(let id) = request.principal { holder = id }
                try core.requireOwn(points, request)
            }
            try core.leases.requireRoom(for: holder)
            let lease = try core.vault.openLease(wanted)
            core.leases.add(lease.id, of: holder)
            return ServerAnswer(status: 201, body: VaultMessages.encode(lease, seconds: core.leases.seconds))
        },
        Operation(
            "PUT", base + "/leases/{lease}", "Keeps a lease alive.", tag: "vault", status: 204, failures: [leaseFailure]
        ) { core, request in
            try core.requireVault(request)
            try core.leases.use(try request.id("lease"), by: request.holder)
            return .nothing
        },
        Operation("DELETE", base + "/leases/{lease}", "Ends a lease.", tag: "vault", status: 204) { core, request in
            try core.requireVault(request)
            core.leases.end(try request.id("lease"), by: request.holder)
            return .nothing
        },
    ]

    private static let writing: [Operation] = [
        Operation(
            "POST", base + "/missing",
            "Which of up to 4,096 blobs must be sent; what is present stays while the lease lives.",
            tag: "vault", access: .machine, query: [leaseQuery], request: .binary("questions after blobs"),
            response: .binary("one bit for each blob, 1 when it must be sent"), failures: [leaseFailure]
        ) { core, request in
            try core.requireVault(request)
            let lease: LeaseID = try request.id("lease")
            try core.leases.use(lease, by: try request.machine())
            let answer = try core.vault.missing(try VaultMessages.questions(request.body), lease: lease)
            return .binary(VaultMessages.encode(missing: answer))
        },
        Operation(
            "PUT", base + "/packs/{pack}", "Stores a pack of data or nodes. Sending it again is fine.", tag: "vault",
            access: .machine, query: [leaseQuery], request: .binary("a pack"), status: 204,
            failures: [
                leaseFailure, (409, "It names blobs that are missing; they are listed."),
                (410, "A pack of this name is being removed: pack its blobs anew."),
                (422, "It breaks the format's rules."),
                (507, "The vault's disk is full."),
            ], maximumBody: FormatLimits.packLength
        ) { core, request in
            try core.requireVault(request)
            let machine = try request.machine()
            let lease: LeaseID = try request.id("lease")
            try core.leases.use(lease, by: machine)
            return try core.noting(machine) {
                let pack = try SealedPack(parsing: request.body, vault: core.vaultID)
                guard request.parameters["pack"] == pack.name.hex else {
                    throw HoldfastError(.damaged, "the pack's bytes are not those that its name says; send it again")
                }
                guard pack.writer.high == machine.high, pack.writer.low == machine.low else {
                    throw HoldfastError(.denied, "the pack says that another machine has written it")
                }
                try core.vault.store(pack, lease: lease)
                core.life.noteStored(pack, of: machine)
                return .nothing
            }
        },
        Operation(
            "PUT", "/api/v1/machines/{machine}/points/{point}",
            "Makes a recovery point visible, with small packs that it brings along.", tag: "vault",
            access: .machine,
            query: [
                leaseQuery,
                (
                    "packs",
                    "1: packs come with the point, at most 256 KiB in all. The body is then a count (u32), and for the point "
                        + "and each pack a length (u32) and the bytes."
                ),
            ], request: .binary("a sealed point"), response: .json("Receipt"),
            failures: [
                leaseFailure,
                (409, "It names blobs that are missing (they are listed), or another writer has committed meanwhile."),
            ], maximumBody: VaultMessages.maximumPoint
        ) { core, request in
            let machine = try request.machine()
            guard try request.id("machine", as: MachineID.self) == machine else {
                throw HoldfastError(.denied, "a machine writes for itself only")
            }
            let lease: LeaseID = try request.id("lease")
            try core.leases.use(lease, by: machine)
            return try core.noting(machine, isPoint: true) {
                let (point, packs) =
                    request.query["packs"] == "1"
                    ? try VaultMessages.pointWithPacks(request.body, vault: core.vaultID)
                    : (try request.body.withUnsafeBytes { try SealedPoint.decode($0) }, [])
                guard point.locator.machine == machine,
                    try request.id("point", as: PointID.self) == point.locator.point
                else { throw HoldfastError(.denied, "a machine writes for itself only") }
                let receipt = try core.vault.commit(point, with: packs, lease: lease)
                for pack in packs { core.life.noteStored(pack, of: machine) }
                return .json(VaultMessages.encode(receipt))
            }
        },
    ]

    private static let reading: [Operation] = [
        Operation(
            "GET", base + "/points", "Recovery points, oldest first, in pages.", tag: "vault",
            query: [
                ("machine", "Only this machine's."), ("newest", "Only the newest so many."),
                ("ids", "Only these, with commas between."),
                ("start", "Where the page begins, as the page before said."),
            ], response: .json("PointPage")
        ) { core, request in
            try core.requireVault(request)
            var query = PointQuery(machine: try request.optionalID("machine"))
            query.newest = try request.number("newest", in: 0...1_000_000)
            if let ids = request.query["ids"] {
                let texts = ids.split(separator: ",")
                guard texts.count <= 1_024 else {
                    throw HoldfastError(.usage, "at most 1,024 points can be asked for at once")
                }
                query.ids = try texts.map { text in
                    guard let id = PointID(hex: text) else { throw HoldfastError(.usage, "ids are point ids") }
                    return id
                }
            }
            if case .machine(let id) = request.principal {
                // A machine sees its own only, and is not told that there are others.
                if query.machine ?? id != id { return .json(VaultMessages.encode(page: [], next: nil)) }
                query.machine = id
            } else {
                try core.requireListed(query, by: try request.person())
            }
            let start = try request.number("start", in: 0...Int(Int32.max)) ?? 0
            let (page, next) = try core.pages.page(of: query, from: start, in: try core.vault)
            return .json(VaultMessages.encode(page: page, next: next))
        },
        Operation(
            "GET", base + "/points/{point}", "A sealed recovery point.", tag: "vault",
            response: .binary("a sealed point")
        ) { core, request in
            try core.requireVault(request)
            let id: PointID = try request.id("point")
            try core.requireOwn([id], request)
            return .binary(try core.vault.point(id).encoded())
        },
        Operation(
            "GET", base + "/points/{point}/redactions", "What was erased from a point.", tag: "vault",
            response: .binary("records")
        ) { core, request in
            try core.requireVault(request)
            let id: PointID = try request.id("point")
            try core.requireOwn([id], request)
            return .binary(VaultMessages.encode(records: try core.vault.redactions(of: id).map { $0.encoded() }))
        },
        Operation(
            "GET", base + "/machines/{machine}/records", "The vault's records of a machine.", tag: "vault",
            response: .binary("records")
        ) { core, request in
            try core.requireVault(request)
            let machine: MachineID = try request.id("machine")
            if case .machine(let asking) = request.principal,
                try core.restores.lets(asking, seeRecordsOf: machine)
            {
            } else {
                try core.require(request, machine: machine, or: .seeStates)
            }
            return .binary(
                VaultMessages.encode(records: try core.vault.machineRecords(of: machine).map { $0.encoded() }))
        },
        Operation(
            "POST", base + "/points/{point}/grant", "The key of a point's record, for who may read the point.",
            tag: "vault", access: .machineOr(.seeContents), request: .json("GrantRequest"), response: .json("Grant"),
            failures: [(401, "The vault is owner-only: the server has no key to grant.")]
        ) { core, request in
            try core.requireVault(request)
            let id: PointID = try request.id("point")
            try core.requireOwn([id], request)
            let fields = try JSONFields(parsing: request.body, document: "the request for a grant")
            let key = try core.grant(id, wrap: try fields.digest("wrap"))
            return .json(JSONValue.object(["key": .string(Hex.encode(key.grantedBytes))]).encoded())
        },
        Operation(
            "GET", base + "/records", "The vault's records of the machines that the asker may see.", tag: "vault",
            response: .binary("records")
        ) { core, request in
            try core.requireVault(request)
            var records: [MachineRecord]
            if case .machine(let id) = request.principal {
                records = try core.vault.machineRecords(of: id)
            } else {
                let desk = try core.desk(request)
                try desk.require(.seeStates)
                records = Array(try core.vault.machineRecords().values)
                if !desk.person.seesAllMachines {
                    let seen = Set(try desk.machines().map(\.id))
                    records.removeAll { !seen.contains($0.machine) }
                }
            }
            records.sort { $0.machine < $1.machine }
            return .binary(VaultMessages.encode(records: records.map { $0.encoded() }))
        },
        Operation(
            "POST", base + "/blobs/read",
            "Sealed blobs in the order in which they lie in the packs; ends after some 16 MiB, ask for the rest again.",
            tag: "vault", access: .machineOr(.seeContents),
            query: [("copy", "For one blob: its next copy, because the one before did not open.")],
            request: .binary("ids"), response: .binary("for each blob its id, a length, and the sealed blob")
        ) { core, request in
            try core.requireVault(request)
            if case .machine = request.principal {
            } else {
                guard try request.person().may(.seeContents) else { throw ServerCore.notForYou }
            }
            let ids = try VaultMessages.ids(request.body)
            let copy = try request.number("copy", in: 1...8)
            return .binary(try core.read(ids, copy: copy ?? 0))
        },
    ]
}

extension ServerRequest {
    /// Who holds leases: a machine, or a person.
    var holder: MachineID? {
        if case .machine(let id) = principal { return id }
        return nil
    }
}

extension ServerCore {
    /// Throws unless all of these points are the asking machine's, or a person asks who may read all. A point that does not
    /// exist is refused in the same words as another machine's.
    func requireOwn(_ points: [PointID], _ request: ServerRequest) throws {
        let vault = try self.vault
        guard case .machine(let machine) = request.principal else {
            return try requireReadable(points, by: try request.person())
        }
        if points.isEmpty { return }
        let owners = try vault.owners(of: points)
        let others = points.filter { owners[$0] != machine }
        // Another's point is for this machine while an order says so, and no longer.
        if let other = others.first, try !restores.lets(machine, read: Set(others)) {
            throw HoldfastError(.notFound, "there is no recovery point \(other.hex)", context: ["point": other.hex])
        }
    }

    /// Throws unless a person may read contents, and those of the machines of these points.
    private func requireReadable(_ points: [PointID], by person: Person) throws {
        guard person.may(.seeContents) else { throw Self.notForYou }
        if person.seesAllMachines || points.isEmpty { return }
        let owners = try vault.owners(of: points)
        for point in points {
            guard let machine = try owners[point].flatMap({ try catalog.machine($0) }),
                person.covers(group: machine.group)
            else {
                throw HoldfastError(
                    .notFound, "there is no recovery point \(point.hex)", context: ["point": point.hex])
            }
        }
    }

    /// Throws unless a person may see these points in a list. Who is for some machines names one of them, or points of them.
    func requireListed(_ query: PointQuery, by person: Person) throws {
        guard person.may(.seeStates) else { throw Self.notForYou }
        if person.seesAllMachines { return }
        if let id = query.machine {
            guard let machine = try catalog.machine(id), person.covers(group: machine.group) else {
                throw Self.notForYou
            }
        } else {
            guard !query.ids.isEmpty else { throw Self.notForYou }
            try requireReadable(query.ids, by: person)
        }
    }

    /// Opens a wrap that stands in a point or in a redaction of it, and belongs there: a wrap is not signed, and whoever puts
    /// that of another's point into one of its own is not told the key. The record that opens with it is the proof.
    func grant(_ id: PointID, wrap hash: Bytes32) throws -> RecordKey {
        guard let keys else {
            throw HoldfastError(
                .keyNeeded,
                "This vault is owner-only: its server cannot open points. Use the passphrase or the key sheet.")
        }
        let vault = try self.vault
        func isMeant(_ wrap: [UInt8]) -> Bool { wrap.withUnsafeBytes { BlobCrypto.sha256($0) } == hash }
        let point = try vault.point(id)
        if isMeant(point.wrap) {
            let key = try keys.open(wrap: point.wrap)
            _ = try point.open(with: key)
            return key
        }
        for redaction in try vault.redactions(of: id) where isMeant(redaction.wrap) {
            let key = try keys.open(wrap: redaction.wrap)
            _ = try redaction.open(with: key, locator: point.locator)
            return key
        }
        throw HoldfastError(.notFound, "the point has no such key")
    }

    /// The framed bytes of blobs. Sealed as they are they tell nothing to who does not hold their keys.
    func read(_ ids: [BlobID], copy number: Int) throws -> [UInt8] {
        struct Full: Error {}
        let vault = try self.vault
        var writer = ByteWriter()
        if number > 0 {
            guard ids.count == 1 else { throw HoldfastError(.usage, "another copy can be had of one blob at a time") }
            let bytes = try vault.copy(number, of: ids[0])
            if let bytes {
                bytes.withUnsafeBytes { VaultMessages.appendFrame(ids[0], $0, to: &writer) }
            } else {
                VaultMessages.appendFrame(ids[0], nil, to: &writer)
            }
            return writer.bytes
        }
        do {
            try vault.read(ids) { id, framed in
                if !writer.bytes.isEmpty, writer.bytes.count + framed.count > VaultMessages.readLength { throw Full() }
                VaultMessages.appendFrame(id, framed, to: &writer)
            }
        } catch is Full {
            // The reader asks for the rest.
        } catch let error as HoldfastError where error.code == .damaged {
            for id in error.blobs { VaultMessages.appendFrame(id, nil, to: &writer) }
        }
        return writer.bytes
    }
}
