import Capture
import Client
import Model
import Platform
import Server
import Vault

/// The server as a machine of its own vault: what makes it itself is a point at every change, so that the vault and its key
/// sheet are enough to bring it back.
struct ServerProtection {
    /// Stands on every such point, and in the name of the machine.
    static let label = "holdfast-server"
    static let fileName = "server-state"
    private static let folder = "export"

    let state: ServerState
    let keys: VaultKeys

    /// Makes a point of the server's state.
    func keep(_ export: ServerExport, in vault: LocalVault) throws {
        var export = export
        export.serverKey = try state.serverKey(of: vault.vault)?.fileBytes
        export.certificate = try state.certificate()
        let own = try StateDirectory(path: state.directory.path + Array("/self".utf8))
        let secrets = try secrets(own, vault)
        try own.keep(try export.signed(by: keys.vaultSigning), as: Self.fileName, in: Self.folder)
        let path = own.path + Array("/\(Self.folder)".utf8)
        let source = CaptureSource(roots: [TreePath(unchecked: Array(path.drop { $0 == UInt8(ascii: "/") }))])
        let request = BackupRequest(
            source: source, kind: .scheduled, labels: [Self.label], sealing: SealingPipeline.Options(workers: 1),
            readers: 1, hostName: Machine.hostName, program: "holdfast \(Holdfast.version)")
        let cache = try own.cacheDirectory(of: vault.vault)
        _ = try BackupJob(
            service: vault, secrets: secrets, heads: StateHeads(own, vault: vault.vault), cacheDirectory: cache,
            request: request
        ).run()
    }

    private func secrets(_ own: StateDirectory, _ vault: LocalVault) throws -> WriterSecrets {
        if let known = try own.writerSecrets(of: vault.vault) { return known }
        let identity = try own.machine(orNamed: "\(Self.label) \(Machine.hostName)")
        let now = Timestamp(nanoseconds: SystemClock.wall)
        let enrolled = try keys.enrol(
            machine: identity.id, name: identity.name, location: vault.store.location,
            joined: try vault.joiningTime(of: identity.id, now: now))
        try vault.register(enrolled.record)
        try own.save(enrolled.secrets)
        return enrolled.secrets
    }

    // MARK: Coming back

    /// The newest state of a server in the vault. What a machine of the vault has put there in its place is passed over: it
    /// lacks the vault's signature.
    static func find(_ session: VaultSession, keys: VaultKeys) throws -> (export: ServerExport, point: PointSummary)? {
        let machines = session.machines.filter { $0.value.name.hasPrefix(label) }.map(\.key)
        var points: [PointSummary] = []
        for machine in machines { points += try session.vault.points(PointQuery(machine: machine)) }
        points.sort { $0.effective > $1.effective }
        for point in points {
            guard let export = try? read(point, session, keys) else { continue }
            return (export, point)
        }
        return nil
    }

    private static func read(_ point: PointSummary, _ session: VaultSession, _ keys: VaultKeys) throws -> ServerExport {
        let reader = try PointReader(service: session.vault, keys: keys, point: point.id)
        defer { reader.close() }
        guard reader.record.labels.contains(label), let root = reader.record.protectedPaths.first else {
            throw HoldfastError(.notFound, "the point is not of a server")
        }
        let file = try reader.resolve(root + Array("/\(fileName)".utf8))
        var bytes: [UInt8] = []
        try reader.read(file.entry) { part in
            bytes += part
            return bytes.count <= ServerExport.maximumLength
        }
        return try ServerExport.open(bytes, signedBy: keys.config.signing)
    }
}
