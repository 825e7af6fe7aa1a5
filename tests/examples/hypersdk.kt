/* Juspay's SDK as the examples use it: see android.kt. */
@file:Suppress("UNUSED_PARAMETER", "unused")

package `in`.juspay.services

import androidx.fragment.app.FragmentActivity
import `in`.juspay.hypersdk.ui.HyperPaymentsCallbackAdapter
import org.json.JSONObject

class HyperServices(activity: FragmentActivity) {
    fun initiate(activity: FragmentActivity, payload: JSONObject, callback: HyperPaymentsCallbackAdapter) = Unit

    fun process(activity: FragmentActivity, payload: JSONObject) = Unit

    fun terminate() = Unit
}
