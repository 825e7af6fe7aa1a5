/*
 * The parts of Android and HyperSDK that the examples use, with the signatures that hyper-sdk-react 5.0.35 calls.
 * The real ones are not on a registry of this project.
 */
@file:Suppress("UNUSED_PARAMETER", "unused")

package androidx.fragment.app

open class FragmentActivity {
    fun runOnUiThread(action: Runnable) = action.run()
}
