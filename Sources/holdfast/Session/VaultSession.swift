import Catalog
import Client
import Model
import Platform
import Server
import Vault

/// The vault that a command works with, opened once, and what was unlocked of it.
final class VaultSession {
    let console: Console
    /// The directory or the server as it was named.
    let path: [UInt8]
    let vault: any VaultService
    /// The vault itself; `nil` behind a server.
    private let local: LocalVault?
    /// The server that the vault is behind.
    private let server: (connection: ServerConnection, secrets: WriterSecrets?)?
    private var remote: RemoteAdministration?
    /// Whether a person is signed in, and not this machine.
    private var isPerson: Bool { server.map { $0.secrets == nil } ?? false }
    private var unlocked: VaultKeys?

    /// Opens the vault that the options or the environment name.
    ///
    /// Notes of what opening it found out (a catalog that was rebuilt) are passed on.
    convenience init(
        _ console: Console, _ options: VaultOptions, _ global: GlobalOptions,
        for access: VaultDirectory.Access = .read, patience: ServerConnection.Patience? = nil
    ) throws {
        try self.init(
            console, path: try options.location(), takesOver: options.takeOver, token: options.token, global: global,
            for: access, patience: patience)
    }

    /// - Parameters:
    ///   - token: a file with an access code; a server is then asked as a person, but for writing, which machines do.
    ///   - isNew: just made; what opening finds out is no news then.
    ///   - patience: how long a server is waited for; by default what suits the access.
    init(
        _ console: Console, path: [UInt8], takesOver: Bool = false, token: [UInt8]? = nil, isNew: Bool = false,
        global: GlobalOptions, for access: VaultDirectory.Access = .read,
        patience: ServerConnection.Patience? = nil
    ) throws {
        self.console = console
        self.path = path
        let location = String(decoding: path, as: UTF8.self)
        if ServerAddress.isServer(location) {
            local = nil
            if let token, access != .fill {
                let (connection, vault) = try VaultSession.signIn(try ServerAddress(location), token)
                server = (connection, nil)
                self.vault = RemoteVault(connection, vault: vault)
                remote = RemoteAdministration(connection, vault: vault)
                return
            }
            let known = try ServerMembership.load(try ServerAddress(location), global)
            let connection = ServerConnection(
                known.credentials, patience: patience ?? (access == .read ? .person : .job))
            server = (connection, known.secrets)
            vault = RemoteVault(connection, vault: known.credentials.vault)
            remote = RemoteAdministration(connection, vault: known.credentials.vault)
            return
        }
        server = nil
        var options = VaultDirectory.Options()
        options.takesOver = takesOver
        options.access = access
        let opened = try VaultDirectory.open(path: path, options: options)
        local = opened
        vault = opened
        if isNew { return }
        for note in opened.notes { console.note("holdfast: \(note)") }
    }

    /// A connection of the person whose access code stands in `file`. Nothing is sent to a server that does not hold the key
    /// in the code.
    private static func signIn(_ address: ServerAddress, _ file: [UInt8]) throws -> (ServerConnection, VaultID) {
        let code = try AccessCode(file: try PassphraseOptions.read(file, what: "token file"))
        let description = try ServerConnection.discover(address)
        guard description.key == code.serverKey else {
            throw HoldfastError(
                .untrusted,
                "\(address.description) is not the server that gave out this access code. Nothing was sent to it.",
                context: ["server": address.description])
        }
        let connection = ServerConnection(
            address: address, server: description.server, key: description.key, identity: .bearer(code.token.text))
        return (connection, description.vault)
    }

    /// What the vault's owner does with it, here or through a server.
    func administration() throws -> any VaultAdministration {
        if let local { return LocalAdministration(local) }
        if let remote, isPerson { return remote }
        throw HoldfastError(
            .keyNeeded, "This is for an administrator: a machine may only add to the vault and read what it added.",
            context: [
                "hint":
                    "Get an access code by `holdfast server access --role administrator --name NAME` on the server, put it "
                    + "into a file, and name that with --token-file."
            ])
    }

    /// The server that the vault is behind; `nil` for one in reach.
    var connection: ServerConnection? { server?.connection }

    /// The connection of a person to the server; `nil` for a vault in reach, and for this machine itself.
    func orderingConnection() throws -> ServerConnection? { isPerson ? server?.connection : nil }

    /// Alerts of the server, for a person.
    func alerts() throws -> RemoteAlerts {
        if let server, isPerson { return RemoteAlerts(server.connection) }
        throw HoldfastError(
            .keyNeeded, "Alerts are a server's, and for people: sign in with an access code.",
            context: [
                "hint":
                    "Name the server with --vault, and with --token-file a file with the code that "
                    + "`holdfast server access --role viewer --name NAME` prints there."
            ])
    }

    /// Whether the vault is behind a server.
    var isRemote: Bool { local == nil }

    /// For messages.
    var name: String { TreePath.display(path) }

    /// The vault itself, for what is done to it where it lies.
    func localVault() throws -> LocalVault {
        if let local { return local }
        throw HoldfastError(
            .usage, "This is done where the vault lies, not through a server.",
            context: ["hint": "Run it on the server's machine with --vault and the vault's directory."])
    }

    /// Directories of the vault on this machine, which backups and restores spare.
    var ownDirectories: [[UInt8]] { local == nil ? [] : [path] }

    /// Makes sure that what this machine writes with is this vault's, and lets the vault check blobs with it.
    func check(_ secrets: WriterSecrets) throws {
        // A server's vault was pinned with the server.
        guard let local else { return }
        try secrets.check(local.config)
        local.trust(secrets.domainSecret)
    }

    var now: Timestamp { Timestamp(nanoseconds: SystemClock.wall) }

    // MARK: Keys

    /// The vault's keys. Asks for the passphrase at most once.
    func keys(_ options: PassphraseOptions) throws -> VaultKeys {
        if let unlocked { return unlocked }
        let material = try remote?.keyMaterial() ?? administration().keyMaterial()
        let secret = try options.secret(console, vault: name)
        let keys = try VaultKeys.unlock(config: material.config, files: material.files, secret: secret)
        for file in keys.unreadable {
            console.warn("keys/\(TreePath.display(file.name.utf8)) cannot be used: \(file.error.message)")
        }
        unlocked = keys
        return keys
    }

    /// What opens points: the vault's keys, or the server's grants.
    func opener(_ options: PassphraseOptions) throws -> any PointOpener {
        // An owner-only vault is opened here, by who has its passphrase and may see its key files.
        guard let server, let remote, try remote.hasKeys else { return try keys(options) }
        if let secrets = server.secrets { return PointGrants(server.connection, secrets: secrets) }
        return PointGrants(server.connection, config: try remote.config)
    }

    /// What opens points, when it can be had without asking anybody.
    func openerIfAtHand(_ options: PassphraseOptions) throws -> (any PointOpener)? {
        if server == nil { return try keysIfAtHand(options) }
        if let remote {
            if try !remote.mayRead { return nil }
            if try !remote.hasKeys { return try keysIfAtHand(options) }
        }
        return try opener(options)
    }

    /// The keys, when they can be had without asking anybody.
    func keysIfAtHand(_ options: PassphraseOptions) throws -> VaultKeys? {
        if unlocked == nil, options.file == nil, options.keySheet == nil { return nil }
        return try keys(options)
    }

    /// `config.json` and the files below `keys/`.
    static func keyMaterial(_ store: any BlobStore) throws -> KeyMaterial { try KeyMaterial(store) }

    // MARK: Machines

    /// What is known of the machines that joined, by id.
    private(set) lazy var machines: [MachineID: MachineRecord] = (try? vault.machineRecords()) ?? [:]

    /// A machine's name, or the beginning of its id when it has none.
    func machineName(_ id: MachineID) -> String {
        if let name = machines[id]?.name, !name.isEmpty { return TreePath.display(name.utf8) }
        return String(id.hex.prefix(8))
    }

    /// The machine that somebody named, by its name or the beginning of its id.
    func machine(named text: String) throws -> MachineID {
        let known = Set(machines.keys).union(try vault.points(PointQuery()).map(\.machine))
        let byName = known.filter { machines[$0]?.name == text }
        let lowered = text.lowercased()
        let found = byName.isEmpty ? known.filter { $0.hex.hasPrefix(lowered) && !lowered.isEmpty } : byName
        if found.count == 1, let id = found.first { return id }
        let list = known.sorted().map { "\(machineName($0)) (\($0.hex.prefix(8)))" }.joined(separator: ", ")
        let shown = TreePath.display(text.utf8)
        throw HoldfastError(
            found.isEmpty ? .notFound : .usage,
            found.isEmpty
                ? "The vault knows no machine \"\(shown)\". It knows: \(list.isEmpty ? "none" : list)."
                : "Several machines are called \"\(shown)\". Use the beginning of an id: \(list).")
    }

    /// The machine whose points are meant: the one named, else this one, else the only one.
    func machine(_ named: String?, _ global: GlobalOptions) throws -> MachineID {
        if let named { return try machine(named: named) }
        if let own = try StateDirectory.existing(path: try global.stateDirectory())?.machine()?.id,
            try machines[own] != nil || !vault.points(PointQuery(machine: own, newest: 1)).isEmpty
        {
            return own
        }
        let known = Set(try vault.points(PointQuery()).map(\.machine)).union(machines.keys)
        if known.count == 1, let only = known.first { return only }
        if known.isEmpty { throw HoldfastError(.notFound, "No machine has joined this vault yet.") }
        let list = known.sorted().map { machineName($0) }.joined(separator: ", ")
        throw HoldfastError(
            .usage, "This machine has no points in the vault. Whose are meant? Name one with --machine: \(list).")
    }

    // MARK: Points

    /// The point that `text` selects. An id may be any machine's; `latest` and times are those of one machine, and never
    /// mean a checkpoint: what is about to be replaced is not what somebody wants back.
    ///
    /// - Parameters:
    ///   - paths: what is wanted of it; `latest` and times then mean the newest point that protects all of it, else the
    ///     newest that protects some of it, else the newest.
    ///   - keys: opens records to see what they protect; asked for only when there is a choice.
    func point(
        _ text: String, machine named: String?, _ global: GlobalOptions, covering paths: [TreePath] = [],
        keys: (() throws -> any PointOpener)? = nil
    ) throws -> PointSummary {
        let selector = try PointSelector.parse(text, now: now, zone: console.zone)
        if case .prefix = selector {
            let points = try vault.points(PointQuery(machine: try named.map { try machine(named: $0) }))
            let point = try select(selector, among: points)
            if named == nil, try machines.count > 1 && point.machine != ownMachine(global) {
                console.note(
                    "Point \(point.shortID) is of \(machineName(point.machine)), "
                        + "\(TimeText.local(point.effective, in: console.zone)).")
            }
            return point
        }
        var points = try vault.points(PointQuery(machine: try machine(named, global)))
        let hasCheckpoint = points.contains { $0.kind == .checkpoint }
        points.removeAll { $0.kind == .checkpoint }
        if points.isEmpty, hasCheckpoint {
            throw HoldfastError(
                .notFound, "There are only checkpoints, and those are chosen by their ids.",
                context: ["hint": "`holdfast points` lists them."])
        }
        let newest = try select(selector, among: points)
        let wanted = paths.filter { !$0.isRoot }
        guard points.count > 1, !wanted.isEmpty, let keys else { return newest }
        return try covering(wanted, selector, among: points, newest: newest, try keys())
    }

    /// How many records are opened to find a point that covers the paths that are wanted.
    private static let recordLimit = 500

    private func covering(
        _ wanted: [TreePath], _ selector: PointSelector, among points: [PointSummary], newest: PointSummary,
        _ keys: any PointOpener
    ) throws -> PointSummary {
        var rest = points
        var partly: PointSummary?
        for _ in 0..<VaultSession.recordLimit {
            guard let next = try? select(selector, among: rest) else { break }
            rest.removeAll { $0.id == next.id }
            guard let record = try? record(of: next, keys) else { continue }
            let roots = record.protectedPaths.map { TreePath(unchecked: $0) }
            // Points of one series protect the same.
            if next.series != 0 { rest.removeAll { $0.series == next.series } }
            if wanted.allSatisfy({ path in roots.contains { $0.contains(path) } }) {
                return told(next, newest, wanted)
            }
            let holdsSome = wanted.allSatisfy { path in roots.contains { $0.contains(path) || path.contains($0) } }
            if holdsSome, partly == nil { partly = next }
        }
        return told(partly ?? newest, newest, wanted)
    }

    private func told(_ chosen: PointSummary, _ newest: PointSummary, _ wanted: [TreePath]) -> PointSummary {
        if chosen.id != newest.id {
            console.note(
                "Point \(chosen.shortID) of \(TimeText.local(chosen.effective, in: console.zone)) is the newest that protects "
                    + "\(wanted.map(\.displayText).joined(separator: ", ")).")
        }
        return chosen
    }

    private func select(_ selector: PointSelector, among points: [PointSummary]) throws -> PointSummary {
        let chosen = try selector.select(from: points.map(\.candidate))
        guard let point = points.first(where: { $0.id == chosen.id }) else {
            throw HoldfastError(.internalError, "A point was chosen that is not in the list.")
        }
        return point
    }

    /// The sealed part of a point.
    func record(of point: PointSummary, _ keys: any PointOpener) throws -> PointRecord {
        try keys.openRecord(try vault.point(point.id), machines: try vault.machineRecords(of: point.machine))
    }

    private func ownMachine(_ global: GlobalOptions) throws -> MachineID? {
        try StateDirectory.existing(path: try global.stateDirectory())?.machine()?.id
    }

    /// Makes sure that somebody wants another machine's files in place of this one's: an id alone does not say whose it is.
    /// A machine that has lost its state, or is new, is known by its host name, or by being the vault's only one.
    func requireOwnPoint(_ point: PointSummary, machine named: String?, _ global: GlobalOptions) throws {
        if named != nil { return }
        if let own = try ownMachine(global), machines[own] != nil {
            if own == point.machine { return }
        } else if machines.count <= 1 || machines[point.machine]?.name == Machine.hostName {
            return
        }
        let name = machineName(point.machine)
        throw HoldfastError(
            .usage,
            "Point \(point.shortID) of \(TimeText.local(point.effective, in: console.zone)) is of another machine, \(name). "
                + "Nothing was changed.",
            context: ["hint": "To put its files in place of this machine's, say so: --machine \(name)."])
    }

    /// Opens a point for reading. Says when it is not what one would expect.
    func open(_ point: PointSummary, _ keys: any PointOpener, _ trust: TrustOptions) throws -> PointReader {
        if point.condition != .whole {
            console.warn("Point \(point.shortID) is damaged: some of its files cannot be read.")
        }
        let reader = try PointReader(
            service: vault, keys: keys, point: point.id, acceptsUnsigned: trust.acceptUnsigned)
        if reader.locator.isPartial {
            console.warn(
                "Point \(point.shortID) was made before its backup had come to the end: not everything is in it.")
        }
        if !reader.isSigned {
            console.warn(
                "Nobody can tell who made point \(point.shortID): its signature cannot be checked. What it holds was sealed "
                    + "for this vault and is as it was sealed, but anybody who could write to the vault may have made it."
            )
        }
        return reader
    }
}

extension PointSummary {
    /// A series in texts: it is a keyed hash of what is protected.
    static func title(ofSeries series: UInt64) -> String {
        Hex.encode(withUnsafeBytes(of: series.bigEndian) { Array($0) })
    }

    /// The clear part as fields of an object.
    func fields(_ session: VaultSession) -> [String: JSON] {
        [
            "id": .id(id), "machine": .id(machine), "machine_name": .string(session.machineName(machine)),
            "incarnation": .id(incarnation), "number": .count(number), "time": .time(time),
            "effective_time": .time(effective), "arrival": .time(arrival), "kind": .string(kind.title),
            "partial": .bool(isPartial), "pinned": .bool(isPinned), "held": .bool(isHeld),
            "series": .string(PointSummary.title(ofSeries: series)),
            "condition": .string(condition.title),
        ]
    }
}

extension PointKind {
    var title: String {
        switch self {
        case .continuous: "continuous"
        case .scheduled: "scheduled"
        case .manual: "manual"
        case .checkpoint: "checkpoint"
        }
    }
}

extension PointSummary.Condition {
    var title: String {
        switch self {
        case .whole: "whole"
        case .damaged: "damaged"
        case .outOfChain: "out-of-chain"
        }
    }
}
