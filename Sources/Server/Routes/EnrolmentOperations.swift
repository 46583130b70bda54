package import Catalog
package import Client
package import Model
import Synchronization
import Vault

/// How machines come to the server.
enum EnrolmentOperations {
    static let all: [Operation] = [
        Operation(
            "POST", "/api/v1/enroll",
            "Lets a machine in that has a token; answers with what it writes to the vault with.",
            tag: "enrolment", access: .open, request: .json("EnrolmentRequest"), response: .json("EnrolmentAnswer"),
            status: 201,
            failures: [
                (403, "The token does not hold, or the request is not proven."),
                (409, "Only one machine can enrol until the key sheet has been typed back."),
                (429, "Too many enrolments from this address have failed."),
            ], maximumBody: 16 << 10, isGuessable: true
        ) { core, request in
            ServerAnswer(status: 201, body: try core.enrol(try EnrolmentRequest.decode(request.body)))
        }
    ]
}

extension ServerCore {
    /// The group of machines for which none was named.
    static let defaultGroup = "default"

    /// Makes a code with which machines can enrol.
    /// - Parameters:
    ///   - uses: how many machines; `nil` for any number.
    ///   - seconds: how long it holds; `nil` without end.
    package func makeEnrolmentCode(
        name: String, group: String = ServerCore.defaultGroup, uses: Int? = 1, seconds: Int64? = 86_400
    ) throws -> EnrolmentCode {
        let token = SecretToken.random()
        let now = clock()
        try catalog.add(
            AccessToken(
                hash: token.hash, role: .enrolment, name: name, group: group, uses: uses,
                expires: seconds.map { now.advanced(by: $0 * 1_000_000_000) }, created: now))
        return EnrolmentCode(token: token, serverKey: identity.key.verifyingKey)
    }

    /// Makes a token with which a person or program signs in.
    package func makeAccessToken(name: String, role: AccessToken.Role, seconds: Int64?) throws -> SecretToken {
        let token = SecretToken.random()
        let now = clock()
        try catalog.add(
            AccessToken(
                hash: token.hash, role: role, name: name, group: "", uses: nil,
                expires: seconds.map { now.advanced(by: $0 * 1_000_000_000) }, created: now))
        return token
    }

    /// The setting that says that somebody has the key sheet: it was typed back.
    package static let sheetSetting = "key-sheet-checked"

    /// Lets a machine in.
    ///
    /// Coming again with the same keys answers the same, so that a machine whose first answer was lost gets in. Another key
    /// for an id that is known, to this server or to the vault, waits for a person: it may be the machine after a new
    /// installation, a clone of it, or somebody who found its id.
    func enrol(_ request: EnrolmentRequest) throws -> [UInt8] {
        let refused = HoldfastError(
            .denied,
            "This enrolment code does not hold any more: it was used, its time is over, or it is another server's.",
            context: ["hint": "`holdfast server token` on the server prints a new one."])
        guard request.isProven(for: identity.id), let token = try catalog.token(hash: request.token.hash),
            token.role == .enrolment
        else { throw refused }
        return try enrolling.withLock { _ in try enrol(request, token, refused) }
    }

    private func enrol(
        _ request: EnrolmentRequest, _ token: AccessToken, _ refused: HoldfastError
    ) throws -> [UInt8] {
        let now = clock()
        if let known = try catalog.machine(request.machine) {
            guard known.state != .retired else {
                throw HoldfastError(
                    .denied, "This machine was retired. An administrator decides whether it comes back.")
            }
            // Whoever holds the machine's key may hear again what it was told; the token need not hold any more.
            if known.key == request.key { return try grant(known.id, isWaiting: known.state == .waiting) }
            if known.waitingKey == request.key { return try grant(known.id, isWaiting: true) }
        }
        try requireKeySheet(for: request.machine)
        guard try catalog.use(tokenHash: token.hash, at: now) else { throw refused }
        do {
            return try admit(request, group: token.group, now)
        } catch {
            try catalog.giveBack(tokenHash: token.hash)
            throw error
        }
    }

    /// Until the key sheet was typed back only one machine can enrol: with the sheet unread, losing this server would lose
    /// everything.
    private func requireKeySheet(for machine: MachineID) throws {
        guard try catalog.setting(Self.sheetSetting) == nil else { return }
        // One that was never let in has nothing to lose yet.
        if try catalog.machines().contains(where: { $0.id != machine && $0.state != .waiting }) {
            throw HoldfastError(
                .forbidden, "A second machine can enrol only when the vault's key sheet has been typed back once.",
                context: [
                    "hint": "Run `holdfast server check-sheet` on the server and type the words of the key sheet."
                ])
        }
    }

    private func admit(
        _ request: EnrolmentRequest, group: String, _ now: Timestamp
    ) throws -> [UInt8] {
        if let known = try catalog.machine(request.machine) {
            // Whoever is approved must be the one that was looked at.
            guard known.waitingKey == nil else {
                throw HoldfastError(
                    .busy, "Another machine waits under this id already.",
                    context: [
                        "hint":
                            "An administrator looks at its key (`holdfast server machines`), and approves or refuses it first."
                    ], isTemporary: true)
            }
            // The machine that is known goes on working: whoever found its id must not be able to stop it.
            let known = try catalog.change(request.machine) { known in
                known.waitingKey = request.key
                known.waitingSigning = request.signing
            }
            return try grant(known.id, isWaiting: true)
        }
        if let history = try newestRecord(of: request.machine) {
            // The vault knows the id and this server does not: a machine that joined before there was a server, or whose server
            // is gone. Whoever found the id must not be let into that history.
            try catalog.add(waiting(request, as: history.name, group: group, now))
            return try grant(request.machine, isWaiting: true)
        }
        // In an owner-only vault the machine brings its record itself.
        if let keys { try register(request.machine, name: request.name, signing: request.signing, keys, now) }
        try catalog.add(
            ManagedMachine(
                id: request.machine, name: request.name, group: group, key: request.key, enrolled: now, lastSeen: now))
        return try grant(request.machine, isWaiting: false)
    }

    /// What the vault knows of a machine that comes to enrol. Throws `denied` for the server's own, as which nobody enrols: in its
    /// history are the server's keys.
    private func newestRecord(of machine: MachineID) throws -> MachineRecord? {
        // By the name, which the vault has signed: it holds for servers that had this vault before as well.
        let records = try vault.machineRecords(of: machine)
        if records.contains(where: { $0.name.hasPrefix(Self.ownPrefix) }) {
            throw HoldfastError(
                .denied, "This id is a server's own, with which no machine enrols.",
                context: ["hint": "`holdfast enrol --new-machine` makes an id of its own."])
        }
        if let newest = records.max(by: { $0.joined < $1.joined }) { return newest }
        // A record that cannot be read may say anything: that the id is a server's own, too.
        guard try vault.hasTraces(of: machine) else { return nil }
        throw HoldfastError(
            .damaged,
            "The vault has a history under this id, and cannot read now whose it is. Nobody is let in with it.",
            context: [
                "hint":
                    "`holdfast vault verify` on the server says what is wrong; `holdfast enrol --new-machine` makes an id of its own."
            ])
    }

    /// A machine that was never let in: until a person has approved no key opens anything.
    private func waiting(
        _ request: EnrolmentRequest, as name: String, group: String, _ now: Timestamp
    ) -> ManagedMachine {
        ManagedMachine(
            id: request.machine, name: name, group: group, state: .waiting, key: SigningKey.random().verifyingKey,
            waitingKey: request.key, waitingSigning: request.signing, enrolled: now, lastSeen: now)
    }

    /// Makes the vault's own record of a machine.
    private func register(
        _ machine: MachineID, name: String, signing: VerifyingKey, _ keys: VaultKeys, _ now: Timestamp
    ) throws {
        let vault = try self.vault
        let record = try MachineRecord(
            machine: machine, key: signing, joined: try vault.joiningTime(of: machine, now: now), name: name,
            domain: keys.defaultDomain(of: machine), signing: keys.vaultSigning)
        try vault.register(record)
    }

    private func grant(_ machine: MachineID, isWaiting: Bool) throws -> [UInt8] {
        if let keys { return try EnrolmentGrant(machine: machine, keys: keys, isWaiting: isWaiting).encoded() }
        return OwnerOnlyGrant(
            machine: machine, vault: vaultID, material: try KeyMaterial(try vault.store), isWaiting: isWaiting
        ).encoded()
    }

    /// Registers a machine of an owner-only vault with the record that its owner's keys have signed.
    func register(_ record: MachineRecord, of machine: MachineID) throws {
        guard keys == nil else {
            throw HoldfastError(.forbidden, "the server itself registers the machines of this vault")
        }
        guard record.machine == machine else {
            throw HoldfastError(.denied, "a machine registers itself only")
        }
        try vault.register(record)
    }

    /// Lets a machine that waits go on with the history of its id.
    package func approve(_ id: MachineID) throws {
        guard let machine = try catalog.machine(id), let key = machine.waitingKey, let signing = machine.waitingSigning
        else { throw HoldfastError(.notFound, "No such machine waits for approval.") }
        if let keys { try register(id, name: machine.name, signing: signing, keys, clock()) }
        try catalog.change(id) { current in
            // Another may have come to wait meanwhile; that one was not looked at.
            guard current.waitingKey == key else {
                throw HoldfastError(
                    .busy, "Another machine has come to wait under this id. Look again.", isTemporary: true)
            }
            current.key = key
            current.previousKey = nil
            current.waitingKey = nil
            current.waitingSigning = nil
            current.state = .active
        }
    }

    /// Sends away what waits under the id of a machine, which goes on as before. One that was never let in is forgotten: its history
    /// stays nobody's, and who comes with its id waits anew.
    package func refuse(_ id: MachineID) throws {
        if try catalog.removeWaiting(id) { return }
        try catalog.change(id) { machine in
            guard machine.waitingKey != nil else {
                throw HoldfastError(.notFound, "No such machine waits for approval.")
            }
            machine.waitingKey = nil
            machine.waitingSigning = nil
        }
    }
}
