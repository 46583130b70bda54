import Browsing
import Catalog
import Client
import Model
import Recovery
import Server
import Vault

/// Files as they were, to the browser.
enum DownloadPages {
    static let all: [Page] = [
        .get("/machines/{machine}/download", "A file as it was at a point.", .anyRight([.seeContents, .seeOwn]), file),
        .post("/machines/{machine}/archive", .anyRight([.seeContents, .seeOwn]), archive),
    ]

    @Sendable private static func file(_ visit: Visit) throws -> ServerAnswer {
        guard let place = try RestorePlace(visit) else { throw MachineFiles.fileMissing }
        return try visit.desk.download(place.path, at: place.point, of: place.machine, place.files)
    }

    @Sendable private static func archive(_ visit: Visit) throws -> ServerAnswer {
        // Of several times one archive would not say what is of when.
        if !visit.form.all(GonePick.name).isEmpty { return try BasketPage.take(visit) }
        let machine = try visit.machine(visit.request.parameters["machine"])
        let files = try visit.desk.files(of: machine)
        let point = try files.point(visit.form.text("point"))
        let folder = try RestorePlace.path(visit.form)
        let picked = try visit.form.all("pick").map { text -> TreePath in
            guard let path = Hex.decode(String(decoding: text, as: UTF8.self)).flatMap({ TreePath(normalizing: $0) })
            else { throw HoldfastError(.usage, "One of the selected paths is none of this directory.") }
            return path
        }
        let format = PointArchive.Format(rawValue: visit.form.text("format")) ?? .zip
        return try visit.desk.archive(
            picked, of: folder, at: point, of: machine, files, as: format, zone: visit.zone)
    }

    static func disposition(_ name: [UInt8]) -> String { DownloadName.disposition(name) }
}
