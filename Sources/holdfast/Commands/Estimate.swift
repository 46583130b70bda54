import ArgumentParser
import Capture
import Model
import Platform
import Vault

/// `holdfast estimate`
struct Estimate: Command {
    static let configuration = CommandConfiguration(
        commandName: "estimate",
        abstract: "How much a backup would take, and how long, from a sample.",
        discussion: """
            Walks the paths, reads a few hundred pieces drawn at random, and cuts and compresses them as a backup would. When this \
            machine has joined the vault, what the vault has already does not count; without a vault everything does. Equal \
            files that were not drawn are not seen: the true size is rather smaller. `holdfast backup --dry-run` reads \
            everything and is exact.

            Examples:
              holdfast estimate /home
              holdfast estimate / --one-file-system --exclude /var/cache --compression better
            """
    )

    @Argument(help: ArgumentHelp("What would be protected.", valueName: "path"))
    var paths: [PathArgument]
    @OptionGroup var selection: SelectionOptions
    @Option(help: "How hard to compress: fast, better or none.")
    var compression = Compression.fast
    @Option(help: ArgumentHelp("How many pieces to look at.", valueName: "count"))
    var samples = 256
    @OptionGroup var location: VaultOptions
    @OptionGroup var global: GlobalOptions

    func validate() throws {
        if !(1...100_000).contains(samples) { throw ValidationError("--samples takes a number from 1 to 100,000.") }
    }

    func execute(_ console: Console) throws -> ExitStatus {
        let path = try? location.location()
        let session = try path.map { try VaultSession(console, path: $0, takesOver: location.takeOver, global: global) }
        let known = session.flatMap { session in try? Enrolment.secrets(session, global) }
        let source = try selection.source(
            paths, own: [path, try global.stateDirectory()].compactMap { $0 }, console: console)

        let view = ProgressView(console)
        defer { view.finish() }
        let start = SystemClock.monotonic
        var survey = TreeSurvey(samples: samples)
        try survey.walk(source) { survey in
            try Stop.check()
            view.update { Progress(phase: "counting", files: survey.files, bytes: survey.bytes) }
        }
        let walked = UInt64(max(SystemClock.monotonic - start, 0))

        // Without a vault any secret will do: it decides where pieces are cut, not how much they shrink.
        let secret =
            known?.1.domainSecret ?? DomainSecret(master: .random(), domain: DomainSecret.vaultDomain, number: 1)
        let lease = try known.flatMap { _ in try session?.vault.openLease(.reader()) }
        defer { if let lease { session?.vault.closeLease(lease.id) } }
        let estimate = try SizeEstimate.make(
            survey, secret: secret, compression: compression, threads: Machine.processorCount, walkNanoseconds: walked,
            missing: { ids in
                guard let session, let lease else { return ids.map { _ in true } }
                return try session.vault.missing(ids, lease: lease.id)
            },
            { done, total in
                try Stop.check()
                view.update { Progress(phase: "sampling", files: UInt64(done), totalFiles: UInt64(total)) }
            })
        view.finish()
        try show(estimate, survey, isAgainstVault: lease != nil, console)
        return .done
    }

    private func show(
        _ estimate: SizeEstimate, _ survey: TreeSurvey, isAgainstVault: Bool, _ console: Console
    ) throws {
        try console.emit(
            "estimate",
            [
                "files": .count(estimate.files), "bytes": .count(estimate.bytes),
                "sampled_places": .count(estimate.sampledPlaces), "sampled_bytes": .count(estimate.sampledBytes),
                "new_bytes": .count(estimate.newBytes), "stored_bytes": .count(estimate.storedBytes),
                "milliseconds": .count(estimate.nanoseconds / 1_000_000), "against_vault": .bool(isAgainstVault),
                "unreadable_directories": .count(survey.unreadable),
            ])
        try console.line(
            "\(Units.count(estimate.files, "file")) in \(Units.count(survey.directories, "directory", "directories")), "
                + "\(Units.size(estimate.bytes)).")
        let new = isAgainstVault ? ", of which about \(Units.size(estimate.newBytes)) are new to the vault" : ""
        try console.line("A backup would store about \(console.styled(Units.size(estimate.storedBytes), .bold))\(new).")
        try console.line(
            "It would take about \(Units.span(nanoseconds: estimate.nanoseconds)) "
                + "(from \(Units.size(estimate.sampledBytes)) in \(Units.count(estimate.sampledPlaces, "place"))).")
        if survey.unreadable > 0 {
            console.warn("\(Units.count(survey.unreadable, "directory", "directories")) could not be read.")
        }
    }
}
