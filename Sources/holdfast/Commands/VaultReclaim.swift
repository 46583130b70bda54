import ArgumentParser
import Catalog
import Client
import Model
import Platform
import Vault

/// `holdfast vault reclaim`
struct VaultReclaim: Command {
    static let configuration = CommandConfiguration(
        commandName: "reclaim",
        abstract: "Free what no point needs any more, and say what fills the vault.",
        usage: "holdfast vault reclaim [<options>]",
        discussion: """
            Backups and restores may go on meanwhile, and a reclaim that was interrupted goes on the next time. Deletes packs \
            that nothing needs, and copies what lives out of packs that are mostly dead. Needs no passphrase.

            Examples:
              holdfast vault reclaim --dry-run      what would be freed, and who fills the vault
              holdfast vault reclaim
            """
    )

    @Flag(help: "Only say what would be freed.")
    var dryRun = false
    @Flag(help: "Go on although a damaged blob hides what it needs; what only it names may be freed with it.")
    var ignoreDamage = false
    @OptionGroup var location: VaultOptions
    @OptionGroup var global: GlobalOptions

    func execute(_ console: Console) throws -> ExitStatus {
        let session = try VaultSession(console, location, global, for: .change)
        var options = CollectionOptions()
        options.ignoresDamage = ignoreDamage
        options.checkpoint = { try Stop.check() }
        let administration = try session.administration()
        let plan = try administration.planCollection(options: options)
        try show(plan, session, console)
        if dryRun { return plan.lost.isEmpty ? .done : .warnings }

        let report = try administration.reclaim(options: options)
        try console.emit(
            "reclaim",
            [
                "deleted_packs": .count(report.deletedPacks), "rewritten_packs": .count(report.rewrittenPacks),
                "new_packs": .count(report.newPacks), "freed_bytes": .count(report.freedBytes),
                "lost_blobs": .count(report.lost.count), "unreadable_packs": .count(report.unreadable.count),
                "left_for_room": .count(report.leftForRoom),
            ])
        for (pack, reason) in report.unreadable {
            console.warn("pack \(pack.hex) was left as it is: \(reason)")
        }
        if report.leftForRoom > 0 {
            console.warn(
                "\(Units.count(report.leftForRoom, "pack")) could not be rewritten: the disk has no room for the copies. Free "
                    + "\(Units.size(64 << 20)) there and run this again.")
        }
        try console.line(
            "Freed \(console.styled(Units.size(report.freedBytes), .bold)): "
                + "\(Units.count(report.deletedPacks, "pack")) deleted, \(report.rewrittenPacks) rewritten into "
                + "\(report.newPacks).")
        return report.lost.isEmpty && report.unreadable.isEmpty ? .done : .warnings
    }

    private func show(_ plan: CollectionPlan, _ session: VaultSession, _ console: Console) throws {
        let origins = plan.bytesByOrigin.map { origin, bytes in
            (id: MachineID(high: origin.high, low: origin.low), bytes: bytes, live: plan.liveBytesByOrigin[origin] ?? 0)
        }.sorted { ($1.bytes, $0.id) < ($0.bytes, $1.id) }
        try console.emit(
            "reclaim_plan",
            [
                "dead_packs": .count(plan.dead.packs), "dead_bytes": .count(plan.dead.bytes),
                "rewritten_packs": .count(plan.rewritten.packs), "rewritten_bytes": .count(plan.rewritten.bytes),
                "copied_bytes": .count(plan.copiedBytes), "left_bytes": .count(plan.leftBytes),
                "total_bytes": .count(plan.totalBytes), "freed_bytes": .count(plan.freedBytes),
                "lost_blobs": .count(plan.lost.count), "unfinished": .bool(plan.isUnfinished),
                "origins": .array(
                    origins.map {
                        .object([
                            "machine": .id($0.id), "name": .string(session.machineName($0.id)),
                            "bytes": .count($0.bytes), "live_bytes": .count($0.live),
                        ])
                    }),
            ])
        if console.isJSON { return }
        try console.line("The vault holds \(Units.size(plan.totalBytes)) of contents:")
        var table = Table(("machine", .left), ("stored", .right), ("needed", .right))
        for origin in origins {
            let isKnown = session.machines[origin.id] != nil
            table.add(
                isKnown ? session.machineName(origin.id) : "written by \(session.machineName(origin.id))",
                Units.size(origin.bytes), Units.size(origin.live))
        }
        if !table.isEmpty { try console.table(table) }
        try console.line(
            "\(dryRun ? "Would free" : "Going to free") \(Units.size(plan.freedBytes)): "
                + "\(Units.count(plan.dead.packs, "pack")) nobody needs, \(Units.count(plan.rewritten.packs, "pack")) to be "
                + "rewritten. \(Units.size(plan.leftBytes)) of waste stay in packs that are mostly needed.")
        if plan.isUnfinished {
            try console.line("This is what an interrupted reclaim has left to do; the next one looks for more.")
        }
        if !plan.lost.isEmpty {
            console.warn(
                "\(Units.count(plan.lost.count, "blob")) that points need are lost; `holdfast vault verify` names the points."
            )
        }
    }
}

/// Ends long work in the vault when the user asks for it.
enum Stop {
    /// Throws `cancelled` when a signal has come.
    static func check() throws {
        if Signals.received != nil {
            throw HoldfastError(.cancelled, "Stopped. Running the command again goes on from here.")
        }
    }
}
