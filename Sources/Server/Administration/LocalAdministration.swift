import Catalog
package import Client
package import Model
package import Vault

/// The administration of a vault in this process's reach.
package final class LocalAdministration: VaultAdministration {
    private let vault: LocalVault
    /// Makes the catalog anew; `nil` where the vault is in use and cannot be let go of.
    private let rebuilding: (@Sendable () throws -> RebuildReport)?

    package init(_ vault: LocalVault, rebuilding: (@Sendable () throws -> RebuildReport)? = nil) {
        self.vault = vault
        self.rebuilding = rebuilding
    }

    package var config: VaultConfig { vault.config }
    package var hasKeys: Bool { false }

    package func overview() throws -> VaultOverview {
        VaultOverview(
            config: vault.config, statistics: try vault.catalog.statistics(), space: try vault.store.space())
    }

    package func verify(_ request: VerificationRequest) throws -> VerificationReport { try vault.verify(request) }

    package func planCollection(options: CollectionOptions) throws -> CollectionPlan {
        try vault.planCollection(options: options)
    }

    package func reclaim(options: CollectionOptions) throws -> CollectionReport { try vault.reclaim(options: options) }

    package func rebuild() throws -> RebuildReport {
        guard let rebuilding else {
            throw HoldfastError(.busy, "the vault is in use; its catalog is made anew when nobody uses it")
        }
        return try rebuilding()
    }

    package func objection(to id: PointID, among points: [PointSummary], includesNewest: Bool) -> HoldfastError? {
        LocalVault.objection(to: id, among: points, includesNewest: includesNewest)
    }

    package func deletePoints(_ ids: [PointID], includesNewest: Bool) throws {
        try vault.deletePoints(ids, options: .init(includesNewest: includesNewest))
    }

    package func holds() throws -> [HoldRecord.Content] { try vault.holds() }

    package func place(_ hold: HoldRecord.Content, signing: () throws -> SigningKey) throws {
        try vault.add(try HoldRecord(hold, signing: try signing()))
    }

    package func keyMaterial() throws -> KeyMaterial { try KeyMaterial(vault.store) }

    package func add(_ slot: KeySlot) throws -> Bool {
        try vault.store.put(KeyFiles.prefix + slot.fileName, slot.encoded(), mode: .ifAbsent)
    }

    package func remove(_ slot: KeySlot) throws { try vault.store.delete([KeyFiles.prefix + slot.fileName]) }
}
