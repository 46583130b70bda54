package import Browsing
package import Catalog
package import Model
package import Vault

/// Where people's requests come together: every page of the console and every operation of the API that a person may ask for goes
/// through here. What somebody may see and do, and what is written into the audit log, is decided here once for both.
package struct Desk: Sendable {
    package let core: ServerCore
    package let person: Person
    /// Where the request comes from.
    package let address: String
    /// The session of a browser.
    private let session: Bytes32?

    package init(_ core: ServerCore, _ person: Person, address: String, session: Bytes32? = nil) {
        self.core = core
        self.person = person
        self.address = address
        self.session = session
    }

    /// Who asked, as they stand now. Throws `denied` when the account, the session, the token or the code by which they came holds no
    /// more.
    func personNow() throws -> Person {
        let now = core.time
        guard let id = person.account else {
            guard try core.catalog.tokens().contains(where: { $0.isValid(at: now) && Person($0) == person }) else {
                throw ServerCore.notForYou
            }
            return person
        }
        guard let account = try core.catalog.account(id), !account.isDisabled else { throw ServerCore.notForYou }
        if let token = person.token {
            guard let kept = account.tokens.first(where: { $0.hash == token.hash }), now < kept.expires else {
                throw ServerCore.notForYou
            }
            return Person(account, token: kept)
        }
        if let session {
            guard let kept = try core.catalog.session(hash: session) else { throw ServerCore.notForYou }
            // Whoever downloads is there.
            if now.since(kept.used) > 60_000_000_000 { try core.catalog.touch(session: session, at: now) }
        }
        return Person(account)
    }

    /// Throws `denied` unless who asks has this right.
    package func require(_ right: AccountRight) throws {
        guard person.may(right) else { throw ServerCore.notForYou }
    }

    /// Throws `denied` unless nothing is hidden from who asks because of its group.
    package func requireAllMachines() throws {
        guard person.seesAllMachines else { throw ServerCore.notForYou }
    }

    /// Writes down what is about to be done.
    package func note(_ action: String, to object: String = "", _ detail: [String: JSONValue] = [:]) throws {
        try core.accounts.audit.note(action, by: person.name, from: address, to: object, detail)
    }

    // MARK: Machines

    package static let noMachine = HoldfastError(.notFound, "There is no such machine.")

    /// The machines that who asks sees, by name.
    package func machines() throws -> [ManagedMachine] { try core.catalog.machines().filter { person.covers($0) } }

    /// A machine that who asks sees. Throws `notFound`, in the same words for one that is another's.
    package func machine(_ hex: String?) throws -> ManagedMachine {
        guard let id = hex.flatMap({ MachineID(hex: $0) }), let machine = try core.catalog.machine(id),
            person.covers(machine)
        else { throw Self.noMachine }
        return machine
    }

    /// The files of a machine, as far as who asks may see them. Throws `notFound` and `denied`.
    package func files(of machine: ManagedMachine) throws -> MachineFiles {
        guard person.mayBrowse else { throw ServerCore.notForYou }
        guard person.covers(machine) else { throw Self.noMachine }
        return try MachineFiles(machine.id, shelf: core.shelf, sight: person.sight(of: machine))
    }

    /// Lets what waits under the id of a machine go on with its history, or sends it away.
    package func answer(waiting machine: ManagedMachine, isApproved: Bool) throws {
        try require(.manageMachines)
        try note(isApproved ? "machine.approved" : "machine.refused", to: machine.name)
        if isApproved { try core.approve(machine.id) } else { try core.refuse(machine.id) }
    }

    package func retire(_ machine: ManagedMachine) throws {
        try require(.manageMachines)
        try note("machine.retired", to: machine.name)
        try core.retire(machine.id)
    }

    package func reinstate(_ machine: ManagedMachine) throws {
        try require(.manageMachines)
        try note("machine.returned", to: machine.name)
        try core.reinstate(machine.id)
    }

    package func backUpNow(_ machine: ManagedMachine) throws {
        try require(.operate)
        try note("backup.asked", to: machine.name)
        try core.backUpNow(machine.id, by: person.name)
    }

    // MARK: Enrolment

    /// The codes with which machines can still enrol.
    package func enrolmentCodes() throws -> [AccessToken] {
        try require(.manageMachines)
        let now = core.time
        return try core.catalog.tokens().filter { $0.role == .enrolment && $0.isValid(at: now) }
    }

    package func withdrawEnrolmentCode(_ hex: String) throws {
        try require(.manageMachines)
        let known = try core.catalog.tokens().first { $0.role == .enrolment && Hex.encode($0.hash.array) == hex }
        guard let known else { throw HoldfastError(.notFound, "This line does not hold any more.") }
        try note("enrolment.withdrawn", to: known.group)
        _ = try core.catalog.remove(tokenHash: known.hash)
    }
}

extension ServerCore {
    /// The desk for who has sent a request. Throws `keyNeeded` and `denied`.
    func desk(_ request: ServerRequest) throws -> Desk {
        Desk(self, try request.person(), address: request.address)
    }
}
