import Agent
import ArgumentParser
import Capture
import Catalog
import Client
import Console
import Glibc
import Logging
import Model
import Platform
import Server
import Vault

/// Vault, server and this machine's membership in one directory, made as far as they are not there: what `holdfast up` stands on.
final class HomeServer {
    let directory: [UInt8]
    let console: Console
    /// The words of a vault that was made just now; they are shown once.
    private(set) var newSheet: KeySheet?
    private(set) var address: ServerAddress
    private(set) var vault: VaultID
    let identity: VerifyingKey
    /// What sets the owner's password in the console, until somebody has done so.
    let setUp: SecretToken?
    private let core: ServerCore
    private let running: ServerRuntime.Running
    private let place: ServerPlace

    var vaultPath: [UInt8] { HomeServer.path(directory, "vault") }
    var machineState: [UInt8] { HomeServer.path(directory, "state") }
    var serverState: [UInt8] { HomeServer.path(directory, "server") }
    /// Files of the program's own that it proves itself with.
    var proofDirectory: [UInt8] { HomeServer.path(directory, "proof") }

    private static func path(_ directory: [UInt8], _ name: String) -> [UInt8] { directory + Array("/\(name)".utf8) }

    /// Makes what is missing, and begins to serve.
    ///
    /// - Parameter port: `nil` takes the one of the last time, else the usual one, else any that is free.
    init(_ directory: [UInt8], port: Int?, _ console: Console) throws {
        self.directory = directory
        self.console = console
        do throws(Errno) {
            try System.makeDirectories(directory)
            try withCName(directory) { (name) throws(Errno) in
                try FileSystem.setMode(at: FileSystem.currentDirectory, name, 0o700)
            }
            try System.makeDirectories(HomeServer.path(directory, "proof"))
        } catch {
            throw HoldfastError(
                error.isDenied || error == .readOnly ? .denied : .io,
                "The directory \(TreePath.display(directory)) cannot be made: \(error).",
                context: ["hint": "Name another one with --data."], cause: error)
        }
        let vaultPath = HomeServer.path(directory, "vault")
        var made: VaultKeys.NewVault?
        if (try? FileSystem.status(HomeServer.path(vaultPath, "config.json"))) == nil {
            made = try HomeServer.makeVault(directory, vaultPath)
        }
        let location = try VaultOptions.parse(["--vault", String(decoding: vaultPath, as: UTF8.self)])
        place = try ServerPlace(
            console, try HomeServer.global(HomeServer.path(directory, "server")), makes: true)
        do {
            let session = try VaultSession(
                console, path: vaultPath, isNew: made != nil, global: try HomeServer.global(nil), for: .change)
            let local = try session.localVault()
            vault = local.vault
            _ = try ServerInit.giveKey(to: place, local, now: session.now) {
                if let made { return made.keys }
                let material = try VaultSession.keyMaterial(local.store)
                return try VaultKeys.unlock(
                    config: material.config, files: material.files,
                    secret: .passphrase(try HomeServer.passphrase(directory)))
            }
        }
        newSheet = made?.keySheet
        core = try place.core(location)
        try core.begin()
        identity = core.identity.key.verifyingKey
        let (chain, key) = try place.certificate()
        let wanted = try port ?? HomeServer.usualPort(directory)
        var options = HTTPServer.Options(host: "0.0.0.0", port: wanted, chain: chain, key: key)
        options.pages = Site(core).operations
        setUp = try core.accounts.setUp()
        options.renewedCertificate = { [place] in try place.renewedCertificate() }
        running = try ServerRuntime.start(
            core, options, logger: ServerLog.logger(format: .text, level: .critical))
        address = try ServerAddress("https://localhost:\(running.port)")
        try HomeServer.keep(Array("\(running.port)\n".utf8), HomeServer.path(directory, "port"))
    }

    /// Ends the server.
    func stop() { running.stop() }

    // MARK: What is made once

    private static func makeVault(_ directory: [UInt8], _ path: [UInt8]) throws -> VaultKeys.NewVault {
        let passphrase = try passphrase(directory)
        let made = try VaultKeys.makeVault(
            kind: .serverReadable, secrets: [(.passphrase(passphrase), "made by holdfast up")],
            created: Timestamp(nanoseconds: SystemClock.wall))
        try System.makeDirectories(path)
        try VaultDirectory.checkIsFree(path: path)
        try VaultDirectory.create(
            path: path, config: made.config, files: made.files.map { (KeyFiles.prefix + $0.name, $0.bytes) })
        return made
    }

    /// The vault's passphrase, which lies beside it: who can read the directory can open the vault anyway, by the server's key.
    private static func passphrase(_ directory: [UInt8]) throws -> Passphrase {
        let file = path(directory, "passphrase")
        if (try? FileSystem.status(file)) == nil {
            var random = SystemRandomNumberGenerator()
            let text = (0..<32).map { _ in
                "abcdefghijkmnpqrstuvwxyz23456789".randomElement(using: &random) ?? "a"
            }
            try keep(Array((String(text) + "\n").utf8), file)
        }
        return try PassphraseOptions.new(file: file, prompt: "")
    }

    private static func keep(_ bytes: [UInt8], _ path: [UInt8]) throws {
        do throws(Errno) {
            let part = path + Array(".new".utf8)
            let file = try withCName(part) { (name) throws(Errno) in
                try FileDescriptor.open(
                    at: FileSystem.currentDirectory, name, [.writeOnly, .create, .truncate], mode: 0o600)
            }
            try file.writeAll(bytes)
            try file.sync()
            try withCName(part) { (part) throws(Errno) in
                try withCName(path) { (path) throws(Errno) in
                    try FileSystem.rename(
                        at: FileSystem.currentDirectory, part, to: FileSystem.currentDirectory, path)
                }
            }
        } catch {
            throw HoldfastError(
                error.isNoSpace ? .noSpace : .io, "\(TreePath.display(path)) cannot be written: \(error).", cause: error
            )
        }
    }

    static func global(_ state: [UInt8]?) throws -> GlobalOptions {
        try GlobalOptions.parse(state.map { ["--state", String(decoding: $0, as: UTF8.self)] } ?? [])
    }

    /// The port of the last time: machines know the server by its address too. At first the usual one, if it is free.
    private static func usualPort(_ directory: [UInt8]) throws -> Int {
        if let text = try? PassphraseOptions.firstLine(of: path(directory, "port"), what: "port"),
            let port = Int(text), (1...65_535).contains(port)
        {
            return port
        }
        return isFree(ServerAddress.defaultPort) ? ServerAddress.defaultPort : 0
    }

    private static func isFree(_ port: Int) -> Bool {
        let probe = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        if probe < 0 { return false }
        defer { close(probe) }
        var reuse: Int32 = 1
        setsockopt(probe, SOL_SOCKET, SO_REUSEADDR, &reuse, socklen_t(MemoryLayout<Int32>.size))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(UInt16(port).bigEndian)
        return withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(probe, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
    }

    // MARK: This machine

    /// Lets this machine write, if it may not yet.
    func enrol() throws -> StateDirectory {
        let state = try StateDirectory(path: machineState)
        if let known = try ServerMembership.credentials(address, state), known.vault == vault,
            try state.writerSecrets(of: vault) != nil
        {
            return state
        }
        let token = SecretToken.random()
        let now = Timestamp(nanoseconds: SystemClock.wall)
        try place.catalog.add(
            AccessToken(
                hash: token.hash, role: .enrolment, name: "holdfast up", group: "", uses: 1,
                expires: Timestamp(nanoseconds: now.nanoseconds + 600_000_000_000), created: now))
        let identity = try state.machine(orNamed: Machine.hostName)
        let code = EnrolmentCode(token: token, serverKey: self.identity)
        let enrolled = try Enrol.enrol(identity, address, code, state) { _ in
            throw HoldfastError(.keyNeeded, "The vault is owner-only.")
        }
        try ServerMembership(credentials: enrolled.credentials, secrets: enrolled.secrets).save(state)
        // The vault knows the id: it was written to directly before, or under a server that is gone. Machine and server are both in
        // this directory, of whoever runs this: there is nobody else to ask.
        if enrolled.isWaiting { try core.approve(identity.id) }
        return state
    }

    /// A session of this machine with the server, for an agent.
    func session() throws -> VaultSession {
        try VaultSession(
            console, path: Array(address.description.utf8), global: try HomeServer.global(machineState), for: .fill,
            patience: ServerConnection.Patience(attempts: 2, longestPause: 1_000))
    }
}
