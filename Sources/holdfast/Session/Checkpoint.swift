import Capture
import Model
import Platform
import Recovery
import Synchronization
import Vault

/// The point that is made before something risky is done to this machine.
struct Checkpoint {
    let session: VaultSession
    let global: GlobalOptions
    /// For a machine that has not joined the vault: whoever restores has the keys, so it joins on the way.
    let keys: () throws -> VaultKeys

    /// Makes a point of `paths` as they are now and returns its id.
    ///
    /// - Parameter planned: what of it is replaced or removed. Where that are too many names the paths are directories
    ///   that hold them: what cannot be read there besides them stands in nobody's way.
    func make(
        of paths: [TreePath], label: String, planned: () throws -> PlannedPaths, _ console: Console
    ) throws -> PointID {
        let (state, secrets) = try writer()
        let vault = session.vault.vault
        let own = session.ownDirectories + [try global.stateDirectory()]
        let source = CaptureSource(roots: paths, ownDirectories: SelectionOptions.nodes(of: own))
        let request = BackupRequest(
            source: source, kind: .checkpoint, labels: [label],
            sealing: SealingPipeline.Options(workers: max(1, Machine.processorCount)),
            readers: max(1, Machine.processorCount), hostName: Machine.hostName, program: "holdfast \(Holdfast.version)"
        )
        let cacheDirectory = try state.cacheDirectory(of: vault)
        // These paths are hardly ever protected together again: the cache would only lie there.
        defer { WriterCache.remove(vault: vault, source: source.cacheSource, from: cacheDirectory) }
        let job = BackupJob(
            service: session.vault, secrets: secrets, heads: StateHeads(state, vault: vault),
            cacheDirectory: cacheDirectory, request: request)
        let progress = job.progress
        let report = try Watch.run(
            console, progress: { progress.view }, stop: { progress.stopRequested.store(true, ordering: .relaxed) },
            { try job.run() })
        var lost = report.warnings.filter { ![.vanished, .changed, .metadata].contains($0.reason) }
        if !lost.isEmpty {
            let planned = try planned()
            lost.removeAll { !planned.touches(TreePath(unchecked: $0.path)) }
        }
        guard lost.isEmpty else {
            let path = TreePath(unchecked: lost[0].path).displayText
            throw HoldfastError(
                .denied,
                "What would be replaced cannot all be kept first: \(path): \(lost[0].text). Nothing was restored.")
        }
        console.note("What will be replaced or removed is kept in point \(report.point.hex.prefix(8)).")
        return report.point
    }

    private func writer() throws -> (StateDirectory, WriterSecrets) {
        if let state = try StateDirectory.existing(path: try global.stateDirectory()),
            let secrets = try state.writerSecrets(of: session.vault.vault)
        {
            try session.check(secrets)
            return (state, secrets)
        }
        let identity = try Enrolment.join(session, keys: try keys(), global: global, name: nil)
        session.console.note("This machine, \(identity.name), has joined the vault, to keep what will be replaced.")
        return try Enrolment.secrets(session, global)
    }
}
