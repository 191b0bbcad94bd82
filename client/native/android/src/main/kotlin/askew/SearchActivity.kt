package askew

import android.app.Activity
import android.os.Bundle
import android.widget.ArrayAdapter
import android.widget.LinearLayout
import android.widget.ListView
import android.widget.TextView
import java.io.File
import java.util.concurrent.Executors

/** Searches with the photo whose path comes in the extra `photo`, and lists the hits. */
class SearchActivity : Activity() {
    private val background = Executors.newSingleThreadExecutor()
    private lateinit var notice: TextView
    private lateinit var hits: ArrayAdapter<String>

    override fun onCreate(state: Bundle?) {
        super.onCreate(state)
        notice = TextView(this).apply { text = "Preparing the encoder …" }
        hits = ArrayAdapter(this, android.R.layout.simple_list_item_1)
        setContentView(LinearLayout(this).apply {
            orientation = LinearLayout.VERTICAL
            addView(notice)
            addView(ListView(context).apply { adapter = this@SearchActivity.hits })
        })
        val photo = intent.getStringExtra("photo") ?: return show("Expected the path of a photo in the extra `photo`.")
        // Your server, your gallery, and a key with the scope `search` alone.
        val address = intent.getStringExtra("server") ?: return show("Expected an address in the extra `server`.")
        val gallery = intent.getStringExtra("gallery") ?: return show("Expected a name in the extra `gallery`.")
        val server = AskewServer(address, gallery, intent.getStringExtra("key"))
        background.execute {
            try {
                val found = try {
                    search(server, File(photo))
                } catch (problem: ServerProblem) {
                    // The gallery has retired the encoder since it was opened: once more, with the one that it admits now.
                    if (problem.status != 409) throw problem
                    search(server, File(photo))
                }
                runOnUiThread {
                    hits.addAll(found.map { "%.3f  %s".format(it.score, it.payload?.optString("title", it.id) ?: it.id) })
                }
                show(if (found.isEmpty()) "Nothing in this gallery looks like it." else "The photo stayed on this phone.")
            } catch (failure: Exception) {
                show(failure.message ?: failure.toString())
            } catch (failure: OutOfMemoryError) {
                show("This phone has too little memory for the encoder or the photo.")
            }
        }
    }

    private fun search(server: AskewServer, photo: File): List<Hit> = EncoderStore(filesDir, server).open().use { encoder ->
        server.search(encoder.describe(decodePhoto(photo, encoder.manifest.photoSize)), encoder.manifest)
    }

    private fun show(text: String) = runOnUiThread { notice.text = text }

    override fun onDestroy() {
        background.shutdown()
        super.onDestroy()
    }
}
